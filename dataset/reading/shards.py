"""Shards: a fast copy of a dataset folder in a few large files, which data/build_shards.py makes.

    ROOT/shards.json              version, settings, what it was made from; ids, sizes and sha256 of every shard
    ROOT/SPLIT/vid2genre.json     as in the folder, and boxes.json where there is one
              /00000.tar          some clips: a plain tar in WebDataset's layout
              /00000.index        where each frame and each sound begins in it: two numpy arrays, CLIP and FRAME

A clip is `0000042.json` (its id, labels, the times of its frames), `0000042.000.jpg`, `.001.jpg`, ... and `0000042.wav`
(mono int16). WebDataset takes all up to a name's first dot as the key of a sample, and ids may hold dots: so a member
is named by the number of its clip in the split, and the json holds the id. Others need no index: `tar xf` unpacks it,
`webdataset.WebDataset("train/{00000..00009}.tar")` gives one sample for each clip.

A frame is kept for each multiple of 1 / fps seconds and for each annotated time, with its exact time stamp: at these
times shards show the frame that the video shows. Between them they show the kept frame before.
"""

import functools
import resource
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from av import VideoFrame

from dataset.reading.annotations import read_boxes, read_genres
from dataset.reading.audio import INT16_SCALE, SOUND_SECONDS, AudioReader, too_short
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.clips import SplitClips, split_folder
from dataset.reading.errors import ClipError, MediaError, MediaErrorKind, OnError
from dataset.reading.names import normalize_name
from dataset.reading.remote import PARALLEL_READS, RemoteBytes, is_url
from dataset.reading.settings import DataSettings
from dataset.reading.shard_format import REBUILD_HINT, ShardEntry, is_shards, read_manifest, shard_files
from dataset.reading.shard_index import ShardIndex
from dataset.reading.stored_bytes import FileBytes, open_bytes
from dataset.reading.tar_members import TAR_BLOCK
from dataset.reading.upright import crop_square
from utils.errors import UserError

# Shards that a process keeps open: each takes a file descriptor, of which most systems allow a process 1024.
MAX_OPEN = min(max(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4), 4096)


class ShardedClips(SplitClips):
    """The clips of one split of shards: a `dataset.reading.reader.ClipDataset`.

    Args:
        root: folder that data/build_shards.py made, or the URL of a copy.
        split: "train", "val" or "test".
        on_error: "stop" raises if the shards were built without one of the clips; "skip" lists those in `skipped`.

    Attributes:
        settings: options of data/build_shards.py.
        index: where each clip lies.

    Raises:
        UserError: no shards, unfinished ones, another version, or a shard that is missing or has another size.
        ClipError: on_error is "stop" and a clip is not in the shards.
    """

    def __init__(self, root: Path | str, split: str, on_error: OnError = "stop") -> None:
        manifest = read_manifest(root)
        folder = split_folder(root, split)
        boxes, labels = read_boxes(folder / "boxes.json"), read_genres(folder / "vid2genre.json")
        shards = manifest["splits"].get(split, [])
        if not is_url(root):  # a request for each shard would take long
            _check_sizes(folder, shards)
        located = {
            normalize_name(clip): (k, row) for k, shard in enumerate(shards) for row, clip in enumerate(shard["ids"])
        }
        skipped = dict(manifest["missing"].get(split, {}))
        for shard in shards:
            skipped |= shard["skipped"]
        skipped = {normalize_name(clip): reason for clip, reason in skipped.items()}
        skipped |= {clip: "it is in none of them" for clip in labels if clip not in located and clip not in skipped}
        skipped = dict(sorted(skipped.items()))
        if skipped and on_error == "stop":
            clip, why = next(iter(skipped.items()))
            reason = f"lacks clip {clip} ({why})"
            raise ClipError(clip, "missing", folder, reason, "pass --data.on_error skip")
        super().__init__(folder, {c: mids for c, mids in labels.items() if c not in skipped}, boxes, skipped)
        self.settings = manifest["settings"]
        self.parallel_reads = PARALLEL_READS if is_url(root) else 1
        self._located = np.array([located[clip] for clip in self.ids], np.int32)  # (N, 2): shard and row
        self.index = ShardIndex(folder, shards)
        self._path = functools.lru_cache(MAX_OPEN)(self.index.tar)
        self._stored = functools.lru_cache(MAX_OPEN)(lambda shard: open_bytes(self._path(shard), REBUILD_HINT))

    @classmethod
    def recognizes(cls, root: Path | str) -> bool:
        """Check whether `root` holds shards."""
        return is_shards(root)

    def check_settings(self, data: DataSettings) -> None:
        """Raise a `UserError` if a run's settings `data` ask for what these shards don't hold."""
        fps, size, rate = (self.settings[name] for name in ("fps", "size", "rate"))
        steps = data.frame_step * fps
        if data.frames != 1 or data.flow != "none":
            raise UserError(
                f"data.frames and data.flow need every frame, and the shards {data.root} keep {fps:g} a second: set "
                "--data.root to the folder that they were made from"
            )
        if steps <= 0.5 or abs(steps - round(steps)) >= 1e-6:
            raise UserError(
                f"data.frame_step {data.frame_step:g} is not a multiple of the {1 / fps:g} s between the frames of the "
                f"shards {data.root}: set --data.frame_step {1 / fps:g}"
            )
        if data.resize_size > size:
            raise UserError(
                f"data.resize_size {data.resize_size} is more than the {size} pixels of the shards {data.root}: lower "
                f"it, or make shards with --size {data.resize_size}"
            )
        if data.sample_rate > rate:
            raise UserError(
                f"data.sample_rate {data.sample_rate} is more than the {rate} Hz of the shards {data.root}: lower it, "
                f"or make shards with --rate {data.sample_rate}"
            )

    def open(self, index: int) -> "ShardClipReader":
        """Open the clip at `index`: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        shard, row = self._located[index].tolist()
        return ShardClipReader(self.ids[index], self._path(shard), self, shard, row, self.seconds)

    def stored(self, shard: int) -> FileBytes | RemoteBytes:
        """Get the bytes of a shard: each process opens it when it first needs it, and keeps the most recent ones open.

        Args:
            shard: its number.

        Raises:
            MediaError: it can't be read.
        """
        return self._stored(shard)

    def find_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find clips: the numbers of their shards, and the other two of `ShardIndex.find_many`.

        Args:
            indices: (N,) of the clips.
        """
        shards, rows = self._located[indices].T
        return shards, *self.index.find_many(shards, rows)

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index`, by the hash of its shard."""
        shard, row = self._located[index].tolist()
        return f"{self.index.tar_sum(shard)}, {row}"


def _check_sizes(folder: Path, shards: list[ShardEntry]) -> None:
    for shard in shards:
        for path, size in shard_files(folder, shard):
            if not path.is_file() or path.stat().st_size != size:
                raise UserError(f"{path} is missing or doesn't have {size} bytes: {REBUILD_HINT}")


class ShardClipReader(AudioReader):
    """One clip of a shard, open for reading in a `with` statement: a `dataset.reading.reader.OpenClip`.

    Args:
        clip: the clip's id.
        tar: path or URL of the shard.
        clips: the split.
        shard, row: number of the shard, and of the clip in it.
        seconds: length of the sound that belongs to a frame.

    Attributes:
        clip: as given. video_file, audio_file: the shard.
        first, last, video_end, sound_seconds: of the clip that it was made from, seconds.
        times: of the kept frames, (n,) float64, ascending, seconds.

    Raises:
        ClipError: the shard can't be read or is damaged, or the clip is shorter than `seconds`.
    """

    first: float
    last: float
    video_end: float
    times: np.ndarray

    def __init__(
        self,
        clip: str,
        tar: Path,
        clips: ShardedClips,
        shard: int,
        row: int,
        seconds: float = SOUND_SECONDS,
    ) -> None:
        super().__init__(clip, tar, seconds)
        self.video_file, self.native_rate = tar, clips.settings["rate"]
        self._clips, self._place = clips, (shard, row)

    def _open(self) -> None:
        try:
            place, self._bytes = self._clips.index.find(*self._place), self._clips.stored(self._place[0])
        except MediaError as error:
            raise error.for_clip(self.clip) from error
        self._frames, self.times, self._sound, self.native_samples, last, self.video_end = place
        self.sound_seconds = self.native_samples / self.native_rate
        end = float(sound_end(self.native_samples, self.native_rate, last, self.video_end))
        self.first, self.last = self.seconds / 2, min(end - self.seconds / 2, self.video_end)
        if self.last < self.first:
            reason = too_short(min(end, self.video_end), self.seconds)
            raise ClipError(self.clip, "short", self.audio_file, f"holds clip {self.clip}, which {reason}")

    def _error(self, kind: MediaErrorKind, path: Path | str, reason: str) -> ClipError:
        return ClipError(self.clip, kind, path, f"{reason} at clip {self.clip}", REBUILD_HINT)

    def _read_bytes(self, offset: int, count: int) -> bytes:
        try:
            return self._bytes[offset : offset + count]
        except MediaError as error:
            raise error.for_clip(self.clip) from error

    def frame(self, time: float, size: int, crop: float | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Read the kept frame shown at a time: (size, size, 3) uint8 RGB.

        Args:
            time: seconds.
            size: pixels.
            crop: None to resize the whole frame; else the position of a square along its longer side, 0..1.
            out: array for the result, contiguous; None for a new one.
        """
        number = max(int(self.times.searchsorted(time + TIME_TOLERANCE, "right")) - 1, 0)
        block, count = self._frames[number].item()
        try:
            return decode_frame(self._read_bytes(block * TAR_BLOCK, count), size, crop, out)
        except ValueError as error:
            raise self._error("damaged", self.audio_file, f"is damaged ({error})") from error

    def frames(
        self, times: list[float], size: int, crop: float | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the kept frames shown at several times: (len(times), size, size, 3) uint8 RGB.

        Args:
            times: seconds.
            size: pixels.
            crop: as of `frame`.
            out: array for the result, contiguous; None for a new one.
        """
        out = np.empty((len(times), size, size, 3), np.uint8) if out is None else out
        for time, place in zip(times, out, strict=True):
            self.frame(time, size, crop, place)
        return out

    def frame_stack(self, time: float, count: int, size: int) -> np.ndarray:
        """Raise a `ClipError`, whatever `time`, `count` and `size` are: frames 0.04 s apart are not kept."""
        raise self._error("short", self.audio_file, f"keeps too few frames a second for {count} in a row")

    def _read_int16(self, start: int, count: int) -> np.ndarray:
        return np.frombuffer(self._read_bytes(self._sound + 2 * start, 2 * count), "<i2")

    def _read_float(self, start: int, count: int) -> np.ndarray:
        out = np.zeros(count, np.float32)
        low, high = max(start, 0), min(start + count, self.native_samples)
        out[low - start : high - start] = self._read_int16(low, high - low) / np.float32(INT16_SCALE)
        return out


def sound_end(samples: Any, rate: int, last: Any, video_end: Any) -> Any:
    """Compute when the sound of a clip ended before it was resampled, seconds.

    Args:
        samples: of the clip's sound, or (N,) of several clips, as the following.
        rate: samples a second.
        last: the latest time for a second of sound, seconds. Before the video's end it tells how long the sound was,
            to the last bit.
        video_end: the latest time at which a frame is shown, seconds.
    """
    end = last + SOUND_SECONDS / 2
    return np.where(last < video_end, end, np.maximum(samples / rate, end))


def decode_frame(jpeg: bytes, size: int, crop: float | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a kept frame: (size, size, 3) uint8 RGB.

    Args:
        jpeg: the frame.
        size: pixels.
        crop: None to resize the whole frame; else the position of a square along its longer side, 0..1.
        out: array for the result, contiguous; None for a new one.

    Raises:
        ValueError: it is damaged.
    """
    try:
        # The decoder itself shrinks by eighths, as long as the frame stays larger than requested.
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=size, min_width=size, buffer=out)
        if out is not None and pixels.shape == out.shape:
            return out
    except ValueError:
        if out is None:
            raise
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=size, min_width=size)  # it is larger, or damaged
    pixels = pixels if crop is None else np.ascontiguousarray(crop_square(pixels, crop))
    if pixels.shape[:2] != (size, size):
        # One thread, and a frame that isn't reused: a resizer's threads don't survive the fork of a loader process.
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        pixels = frame.to_ndarray(width=size, height=size, format="rgb24", interpolation="AREA", threads=1)
    if out is None:
        return pixels
    out[...] = pixels
    return out
