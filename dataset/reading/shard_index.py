"""Where each sound and each frame of a split's shards lies, in memory that all loader processes share.

The index of a shard is read when one of its clips is first needed, by whichever process needs it, checked with its
SHA-256 and kept for all: a visit to a clip costs no reading of an index, of however many shards the split is.
"""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from dataset.reading.errors import MediaError
from dataset.reading.shard_format import (
    CLIP_DTYPE,
    FRAME_DTYPE,
    INDEX_HEADER,
    REBUILD_HINT,
    ShardEntry,
    read_index,
)
from dataset.reading.shared_arrays import shared_array
from dataset.reading.tar_members import TAR_BLOCK

# Of a clip: the first of its frames and of their times in the arrays of the split; where its samples begin in the tar,
# how many; how many frames; the last time of a frame with a second of sound around it, and of any frame, seconds.
CLIP = np.dtype([("frame", "<i8"), ("time", "<i8"), ("sound", "<i8"), ("samples", "<u4"), ("frames", "<u4"),
                 ("last", "<f8"), ("video_end", "<f8")])  # fmt: skip
FRAME = np.dtype([("block", "<u4"), ("bytes", "<u4")])  # where a JPEG begins in the tar, in blocks of TAR_BLOCK bytes


class ClipPlace(NamedTuple):
    """Where a clip lies in its shard.

    Attributes:
        frames: rows of `FRAME`. times: when each is first shown, seconds, float64.
        sound: first byte of the samples. samples: how many.
        last: latest time of a frame with a second of sound around it, seconds. video_end: of any frame.
    """

    frames: np.ndarray
    times: np.ndarray
    sound: int
    samples: int
    last: float
    video_end: float


class ShardIndex:
    """The indexes of a split's shards. Make it before processes are forked.

    A frame takes 8 bytes, a clip 48 and the times of its frames, which clips of a shard share where they are the same.

    Args:
        folder: of the split, or its URL.
        shards: their entries in shards.json.

    Attributes:
        frames: rows of `FRAME` of all clips, those of a shard once it was needed. times: see `CLIP`.
    """

    def __init__(self, folder: Path, shards: list[ShardEntry]) -> None:
        self._folder = folder
        self._names, self._sums, self._tar_sums = (
            np.array([shard[key] for shard in shards], np.str_) for key in ("name", "index_sha256", "tar_sha256")
        )
        clips = [len(shard["ids"]) for shard in shards]
        frames = [
            max(shard["index_bytes"] - INDEX_HEADER - count * CLIP_DTYPE.itemsize, 0) // FRAME_DTYPE.itemsize
            for shard, count in zip(shards, clips, strict=True)
        ]
        self._first_clip, self._first_frame = np.cumsum([0, *clips]), np.cumsum([0, *frames])
        self._clips = shared_array(sum(clips), CLIP)
        self.frames, self.times = shared_array(sum(frames), FRAME), shared_array(sum(frames), np.float64)
        self._is_kept = shared_array(len(shards), np.bool_)
        self._locks: dict[tuple[int, int], Lock] = {}  # of a process and a shard

    def tar(self, shard: int) -> Path:
        """Return the path or URL of the tar of the `shard` with this number."""
        return self._folder / f"{self._names[shard]}.tar"

    def tar_sum(self, shard: int) -> str:
        """Return the SHA-256 of the tar of the `shard` with this number."""
        return str(self._tar_sums[shard])

    def find(self, shard: int, row: int) -> ClipPlace:
        """Find a clip.

        Args:
            shard: number of its shard.
            row: of the clip in the shard.

        Raises:
            MediaError: the shard's index can't be read, or isn't what was written.
        """
        if not self._is_kept[shard]:
            self._keep(shard)
        frame, time, sound, samples, count, *ends = self._clips[self._first_clip[shard] + row].item()
        return ClipPlace(self.frames[frame : frame + count], self.times[time : time + count], sound, samples, *ends)

    def find_many(self, shards: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find clips: their rows of `CLIP`, and whether the index of each one's shard could be read.

        Args:
            shards: (N,) numbers of their shards.
            rows: (N,) of the clips in their shards.
        """
        for shard in set(shards[~self._is_kept[shards]].tolist()):
            with suppress(MediaError):  # whoever opens a clip of it meets it again
                self._keep(shard)
        return self._clips[self._first_clip[shards] + rows], self._is_kept[shards]

    def _keep(self, shard: int) -> None:
        """Read an index, unless another thread has. Two processes that do so at the same time write the same."""
        with self._locks.setdefault((os.getpid(), shard), Lock()):  # a lock that was forked while held is never free
            if not self._is_kept[shard]:
                self._read(shard)

    def _read(self, shard: int) -> None:
        path = self._folder / f"{self._names[shard]}.index"
        clips, frames = read_index(path, str(self._sums[shard]))
        (first_clip, last_clip), (first_frame, last_frame) = (
            ends[shard : shard + 2].tolist() for ends in (self._first_clip, self._first_frame)
        )
        fits = (len(clips), len(frames)) == (last_clip - first_clip, last_frame - first_frame)
        if not fits or (frames["offset"] % TAR_BLOCK).any():
            raise MediaError("damaged", path, "is not the index of this shard", REBUILD_HINT)
        kept = self.frames[first_frame:last_frame]
        kept["block"], kept["bytes"] = frames["offset"] // TAR_BLOCK, frames["bytes"]
        rows = self._clips[first_clip:last_clip]
        for name in ("frames", "samples", "sound", "last", "video_end"):
            rows[name] = clips[name]
        rows["frame"] = first_frame + clips["first"]
        free, found = first_frame, dict[bytes, int]()
        for row, (first, count) in enumerate(clips[["first", "frames"]].tolist()):
            times = np.ascontiguousarray(frames["time"][first : first + count])
            place = found.setdefault(times.tobytes(), free)
            if place == free:
                self.times[free : free + count] = times
                free += count
            rows["time"][row] = place
        self._is_kept[shard] = True  # last, so that no process sees half an index
