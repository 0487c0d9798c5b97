"""Embed any files (videos, images, sounds) with a trained net: a frame and its sound at each moment."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from dataset.loading.prefetch import prefetch
from dataset.reading.errors import MediaError
from dataset.reading.limits import TIME_LIMIT, reading_limit
from dataset.reading.media_folder import MediaItem, MediaKind
from dataset.reading.moments import Moment, iter_moments
from evaluation.trained_net import TrainedNet
from models.interfaces import FrameSoundEncoder
from utils.errors import UserError

ARRAY_DIMS = {"frames": 2, "sounds": 2, "has_frame": 1, "has_sound": 1, "times": 1, "files": 1}
OPTIONAL_DIMS = {"norms": 1, "maps": 4}
FILES_AT_ONCE = 2**12  # that wait to be read


@dataclass
class Collection:
    """Embedded seconds of files, one row each, and `about`, which describes where they come from.

    Attributes:
        frames, sounds: (N, D) float32 unit vectors; zeros where there is none.
        has_frame, has_sound: (N,) bool.
        times: (N,) float64, seconds.
        files: (N,) int32, index into about["files"].
        about: plain data for JSON; "files" lists (name, kind, name of its sound), see `media_folder.MediaItem`.
        norms: (N,) float32, the length of each sound's embedding before it was normalized; with `maps` only.
        maps: (F, D, h, w) float16, the embeddings at each location of the F frames, in the order of their rows; None if
            they are not kept.
    """

    frames: np.ndarray
    sounds: np.ndarray
    has_frame: np.ndarray
    has_sound: np.ndarray
    times: np.ndarray
    files: np.ndarray
    about: dict[str, Any]
    norms: np.ndarray | None = None
    maps: np.ndarray | None = None

    def file_of(self, row: int) -> tuple[str, MediaKind, str]:
        """The file of row `row` (0..N-1): (name, kind, name of its sound), names relative to the input folder."""
        name, kind, sound_name = self.about["files"][self.files[row]]
        return name, kind, sound_name


@dataclass(frozen=True)
class EmbedOptions:
    """What is embedded of a file.

    Attributes:
        hop: time between its moments, seconds.
        pad: pad a sound of less than a second, or of less than data.seconds, with zeros.
        maps: also keep the embeddings at each location of the frames; for nets with localization maps.
        time_limit: a file that takes longer to read is left out, see `dataset.reading.limits.reading_limit`, seconds.
    """

    hop: float = 1.0
    pad: bool = False
    maps: bool = False
    time_limit: float = TIME_LIMIT


class MomentVectors(NamedTuple):
    """The embeddings of a moment, each None where the file has none.

    Attributes:
        frame, sound: (D,) float32 unit vectors.
        norm: length of the sound's embedding before it was normalized.
        map: (D, h, w) float16, the frame's embeddings at each location; None unless they are kept.
    """

    frame: np.ndarray | None
    sound: np.ndarray | None
    norm: float
    map: np.ndarray | None


class _Row(NamedTuple):
    file: int  # index into the list of files
    time: float  # seconds
    vectors: MomentVectors


def refuse_multiframe(net: TrainedNet) -> None:
    """Raise a `UserError` if `net` needs more than one frame: files are embedded one frame per second."""
    data = net.config.data
    if not isinstance(net.model, FrameSoundEncoder) or data.frames > 1 or data.flow != "none":
        raise UserError(
            f"{net.path} holds {net.config.model.name}, which has no vector of a single frame: use a checkpoint of "
            "AVENet, AVOLNet or L3Net"
        )


@torch.no_grad()
def embed_moments(net: TrainedNet, moments: Sequence[Moment], maps: bool = False) -> list[MomentVectors]:
    """Embed the frames and sounds of moments, all in one batch.

    Args:
        net: a net of one frame, see `refuse_multiframe`.
        moments: frames (S, S, 3) uint8 and sounds (samples,) int16, either may be None.
        maps: also keep the frames' embeddings at each location.

    Returns:
        The vectors of each moment.
    """
    model = net.encoder
    shown = [moment.frame for moment in moments if moment.frame is not None]
    heard = [moment.sound for moment in moments if moment.sound is not None]
    v = net.embed_frames(np.stack(shown)) if shown else torch.empty(0)
    a = net.embed_sounds(np.stack(heard)) if heard else torch.empty(0)
    frames = iter(model.frame_vectors(v).numpy() if shown else ())
    sounds = iter(model.sound_vectors(a).numpy() if heard else ())
    locations, norms = iter(v.half().numpy()), iter(a.flatten(1).norm(dim=1).tolist() if heard else ())
    vectors = []
    for moment in moments:
        frame, local = (None, None) if moment.frame is None else (next(frames), next(locations))
        sound, norm = (None, 0.0) if moment.sound is None else (next(sounds), next(norms))
        vectors.append(MomentVectors(frame, sound, norm, local if maps else None))
    return vectors


def embed_files(
    net: TrainedNet, items: Sequence[MediaItem], options: EmbedOptions, threads: int
) -> Iterator[Collection]:
    """Embed files in batches of eval.batch_size moments, while the next files are being decoded.

    A file that can't be read to its end has no rows at all.

    Args:
        net: a net of one frame, see `refuse_multiframe`.
        items: the files, from `dataset.reading.media_folder.find_media`.
        options: what is embedded of each.
        threads: decoding threads.

    Yields:
        The rows of the next files, as soon as they fill a batch; no batch reaches over the end of such a group, so a
        later run that begins there embeds the same batches. about["skipped"] is {name: reason} of the files that can't
        be read, about["in_part"] of those whose sound or frames are left out.
    """
    batch_size = net.config.eval.batch_size
    group = _Group(net, options, batch_size)
    in_part: dict[int, str] = {}
    first = 0
    for file, limit, element in _read_moments(net, items, options, threads, in_part):
        name = items[file].name
        if isinstance(element, MediaError):
            advice = ": --pad embeds it" if element.kind == "short" and not options.pad else ""
            group.skipped[name] = element.reason + advice
        elif isinstance(element, TimeoutError):
            group.skipped[name] = f"takes longer than {limit:.0f} s to read: --time_limit raises this"
        elif isinstance(element, MemoryError):  # no fault of this file: the next ones would fail too
            raise element
        elif isinstance(element, Exception):  # decoders fail in many ways: one file must not stop thousands
            group.skipped[name] = f"can't be read ({type(element).__name__}: {element})"
        elif element is not None:
            group.add(file - first, element)
            continue
        if element is None:
            if file in in_part and name not in group.skipped:
                group.in_part[name] = f"is embedded in part: it {in_part.pop(file)}"
            if group.count >= batch_size or file == len(items) - 1:
                yield group.finish(items[first : file + 1])
                group, first = _Group(net, options, batch_size), file + 1


def _read_moments(
    net: TrainedNet, items: Sequence[MediaItem], options: EmbedOptions, threads: int, in_part: dict[int, str]
) -> Iterator[tuple[int, float, Any]]:
    """Read the moments of files, some thousand files at a time: what waits to be read takes memory.

    Args:
        net, items, options, threads: as of `embed_files`.
        in_part: gets {number of a file: what is left out of it}.

    Yields:
        (number of the file, its time limit in seconds, element of its stream, see `prefetch`).
    """
    data = net.config.data
    for start in range(0, len(items), FILES_AT_ONCE):
        chunk = items[start : start + FILES_AT_ONCE]
        limits = [reading_limit(options.time_limit, *{item.path, item.sound}) for item in chunk]
        streams: list[Iterable[Moment]] = []
        for k, item in enumerate(chunk):
            note = partial(in_part.__setitem__, start + k)
            rest = options.hop, options.pad, note, data.seconds
            streams.append(_limit_time(iter_moments(item, data.resize_size, data.sample_rate, *rest), limits[k]))
        for k, element in prefetch(streams, threads, limits):
            yield start + k, limits[k], element


def _limit_time(moments: Iterator[Moment], seconds: float) -> Iterator[Moment]:
    """Yield `moments`; raise a TimeoutError when reading them has taken longer than `seconds`."""
    spent, begin = 0.0, time.monotonic()
    for moment in moments:
        spent += time.monotonic() - begin
        if spent > seconds:
            raise TimeoutError
        yield moment
        begin = time.monotonic()


class _Group:
    """Files that are embedded together.

    Args:
        net: embeds.
        options: what is embedded of each file.
        batch_size: moments in a batch.

    Attributes:
        count: moments so far.
        skipped, in_part: {name: reason} of files that can't be read, and of those of which only a part can.
    """

    def __init__(self, net: TrainedNet, options: EmbedOptions, batch_size: int) -> None:
        self.count, self.skipped, self.in_part = 0, dict[str, str](), dict[str, str]()
        self._net, self._options, self._batch_size = net, options, batch_size
        self._waiting: list[tuple[int, Moment]] = []
        self._rows: list[_Row] = []

    def add(self, file: int, moment: Moment) -> None:
        """Add a `moment` of the group's file number `file`; embed a batch if it is full."""
        self.count += 1
        self._waiting.append((file, moment))
        if len(self._waiting) == self._batch_size:
            self._embed_waiting()

    def finish(self, items: Sequence[MediaItem]) -> Collection:
        """Embed the last batch, and collect the rows of the files that could be read, of all the group's `items`."""
        self._embed_waiting()
        rows = [row for row in self._rows if items[row.file].name not in self.skipped]
        collection = _to_collection(rows, items, self._options.maps)
        collection.about |= {"skipped": self.skipped, "in_part": self.in_part}
        return collection

    def _embed_waiting(self) -> None:
        vectors = embed_moments(self._net, [moment for _, moment in self._waiting], self._options.maps)
        for (file, moment), pair in zip(self._waiting, vectors, strict=True):
            self._rows.append(_Row(file, moment.time, pair))
        self._waiting.clear()


def _to_collection(rows: list[_Row], items: Sequence[MediaItem], with_maps: bool) -> Collection:
    dim = next((len(v) for row in rows for v in (row.vectors.frame, row.vectors.sound) if v is not None), 0)
    frames, has_frame = _stack([row.vectors.frame for row in rows], dim)
    sounds, has_sound = _stack([row.vectors.sound for row in rows], dim)
    maps = [row.vectors.map for row in rows if row.vectors.map is not None]
    return Collection(
        frames=frames,
        sounds=sounds,
        has_frame=has_frame,
        has_sound=has_sound,
        times=np.array([row.time for row in rows], np.float64),
        files=np.array([row.file for row in rows], np.int32),
        about={"files": [[item.name, item.kind, item.sound_name] for item in items]},
        norms=np.array([row.vectors.norm for row in rows], np.float32) if with_maps else None,
        maps=(np.stack(maps) if maps else np.zeros((0, 0, 0, 0), np.float16)) if with_maps else None,
    )


def _stack(vectors: list[np.ndarray | None], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack N vectors: (N, dim) float32, zeros in the rows of None, and (N,) bool, whether a row has a vector."""
    stacked, present = np.zeros((len(vectors), dim), np.float32), np.zeros(len(vectors), bool)
    for row, vector in enumerate(vectors):
        if vector is not None:
            stacked[row], present[row] = vector, True
    return stacked, present


def join_collections(parts: Sequence[Collection], about: dict[str, Any]) -> Collection:
    """Concatenate collections, without their maps.

    Args:
        parts: one or more, in the order of their files.
        about: of the result, without "files", "skipped" and "in_part", which are joined.
    """
    filled = [part for part in parts if len(part.times)] or list(parts[:1])
    arrays = {name: np.concatenate([getattr(part, name) for part in filled]) for name in ARRAY_DIMS}
    files: list[list[str]] = []
    offsets, skipped, in_part = [], dict[str, str](), dict[str, str]()
    for part in parts:
        offsets.append(np.full(len(part.files), len(files), np.int32))
        files += part.about["files"]
        skipped |= part.about["skipped"]
        in_part |= part.about["in_part"]
    arrays["files"] = arrays["files"] + np.concatenate(offsets)
    norms = [part.norms for part in filled if part.norms is not None]
    about = {**about, "files": files, "skipped": skipped, "in_part": in_part}
    return Collection(**arrays, about=about, norms=np.concatenate(norms) if norms else None)
