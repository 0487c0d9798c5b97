"""Embed any files (videos, images, sounds) with a trained net: a frame and a second of sound at each moment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.loading.prefetch import prefetch
from dataset.reading.errors import MediaError
from dataset.reading.media_folder import MediaItem, MediaKind
from dataset.reading.moments import Moment, iter_moments
from evaluation.trained_net import TrainedNet
from models.interfaces import FrameSoundEncoder
from utils.errors import UserError


@dataclass
class Collection:
    """Embedded seconds of files, one row each, and `about`, which describes where they come from.

    Attributes:
        frames, sounds: (N, D) float32 unit vectors; zeros where there is none.
        has_frame, has_sound: (N,) bool.
        times: (N,) float64, seconds.
        files: (N,) int32, index into about["files"].
        about: plain data for JSON; "files" lists (name, kind, name of its sound), see `media_folder.MediaItem`.
    """

    frames: np.ndarray
    sounds: np.ndarray
    has_frame: np.ndarray
    has_sound: np.ndarray
    times: np.ndarray
    files: np.ndarray
    about: dict[str, Any]

    def file_of(self, row: int) -> tuple[str, MediaKind, str]:
        """The file of row `row` (0..N-1): (name, kind, name of its sound), names relative to the input folder."""
        name, kind, sound_name = self.about["files"][self.files[row]]
        return name, kind, sound_name


class MomentVectors(NamedTuple):
    """Unit vectors of a moment's frame and of its sound, (D,) float32 each; None where the file has none."""

    frame: np.ndarray | None
    sound: np.ndarray | None


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
def embed_moments(net: TrainedNet, moments: Sequence[Moment]) -> list[MomentVectors]:
    """Embed the frames and sounds of moments, all in one batch.

    Args:
        net: a net of one frame, see `refuse_multiframe`.
        moments: frames (S, S, 3) uint8 and sounds (rate,) int16, either may be None.

    Returns:
        The vectors of each moment.
    """
    model = net.encoder

    def vectors(embed: Callable[[np.ndarray], Tensor], to_vectors: Callable[[Tensor], Tensor], inputs: list) -> list:
        return list(to_vectors(embed(np.stack(inputs))).numpy()) if inputs else []

    frames = vectors(net.embed_frames, model.frame_vectors, [m.frame for m in moments if m.frame is not None])
    sounds = vectors(net.embed_sounds, model.sound_vectors, [m.sound for m in moments if m.sound is not None])
    left_frames, left_sounds = iter(frames), iter(sounds)
    return [
        MomentVectors(
            None if moment.frame is None else next(left_frames), None if moment.sound is None else next(left_sounds)
        )
        for moment in moments
    ]


def embed_files(
    net: TrainedNet, items: Sequence[MediaItem], hop: float, threads: int, done: Callable[[], object]
) -> Collection:
    """Embed files in batches of eval.batch_size moments, while the next files are being decoded.

    A file that can't be read to its end has no rows at all.

    Args:
        net: a net of one frame, see `refuse_multiframe`.
        items: the files, from `dataset.reading.media_folder.find_media`.
        hop: time between the moments of a file, seconds.
        threads: decoding threads.
        done: called once for each file, when it is embedded or skipped.

    Returns:
        The rows of the files that can be read; about["skipped"] is {name: reason} of the others.
    """
    data, batch_size = net.config.data, net.config.eval.batch_size
    rows: list[_Row] = []
    pending: list[tuple[int, Moment]] = []
    skipped: dict[str, str] = {}

    def embed_pending() -> None:
        vectors = embed_moments(net, [moment for _, moment in pending])
        rows.extend(_Row(file, moment.time, pair) for (file, moment), pair in zip(pending, vectors, strict=True))
        pending.clear()

    streams: list[Iterable[Moment]] = [iter_moments(item, data.resize_size, data.sample_rate, hop) for item in items]
    for file, element in prefetch(streams, threads):
        if element is None:
            done()
        elif isinstance(element, MediaError):
            skipped[items[file].name] = element.reason
        elif isinstance(element, Exception):  # decoders fail in many ways: one file must not stop thousands
            skipped[items[file].name] = f"can't be read ({type(element).__name__}: {element})"
        else:
            pending.append((file, element))
            if len(pending) == batch_size:
                embed_pending()
    embed_pending()
    return _to_collection([row for row in rows if items[row.file].name not in skipped], items, skipped)


def _to_collection(rows: list[_Row], items: Sequence[MediaItem], skipped: dict[str, str]) -> Collection:
    dim = next((len(vector) for row in rows for vector in row.vectors if vector is not None), 0)
    frames, has_frame = _stack([row.vectors.frame for row in rows], dim)
    sounds, has_sound = _stack([row.vectors.sound for row in rows], dim)
    return Collection(
        frames=frames,
        sounds=sounds,
        has_frame=has_frame,
        has_sound=has_sound,
        times=np.array([row.time for row in rows], np.float64),
        files=np.array([row.file for row in rows], np.int32),
        about={"files": [[item.name, item.kind, item.sound_name] for item in items], "skipped": skipped},
    )


def _stack(vectors: list[np.ndarray | None], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack N vectors: (N, dim) float32, zeros in the rows of None, and (N,) bool, whether a row has a vector."""
    stacked, present = np.zeros((len(vectors), dim), np.float32), np.zeros(len(vectors), bool)
    for row, vector in enumerate(vectors):
        if vector is not None:
            stacked[row], present[row] = vector, True
    return stacked, present
