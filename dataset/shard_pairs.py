"""Samples of shards, planned for a whole batch in arrays: what `dataset.pairs` reads clip by clip from other datasets.

Decoding a JPEG takes a quarter of a millisecond, opening a clip and choosing a time a tenth of it. For a batch at once
that is a hundredth, and each frame is decoded, each sound read, where it lies in the batch.
"""

from bisect import bisect_right
from math import ceil
from typing import NamedTuple

import numpy as np

from dataset.reading.audio import SHORT_PART, is_louder, sound_samples
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.errors import MediaError
from dataset.reading.shards import ShardedClips, decode_frame, sound_end
from dataset.reading.stored_bytes import FileBytes, RemoteBytes
from dataset.reading.tar_members import TAR_BLOCK


def multiples_between(first: float, last: np.ndarray, step: float) -> tuple[int, np.ndarray]:
    """Find the multiples of a step between two times: the lowest one's number, and how many there are, (N,) int64.

    Args:
        first: the earliest time, seconds.
        last: (N,) the latest times, seconds.
        step: seconds.
    """
    lowest = ceil(first / step - 1e-6)
    return lowest, np.floor(last / step + 1e-6).astype(np.int64) - lowest + 1


class Wanted(NamedTuple):
    """What is read of N samples, each of M moments.

    Attributes:
        is_usual: (N,) bool: False for those that can't be read so, such as those of a clip that is too short.
        shards: N numbers of shards.
        times: (N, M) of the frames, seconds.
        frames, sizes: N * M first bytes of the frames in their shards, and how many bytes each has.
        sounds: N * M first bytes of the sounds.
    """

    is_usual: np.ndarray
    shards: list[int]
    times: np.ndarray
    frames: list[int]
    sizes: list[int]
    sounds: list[int]


class ShardPairs:
    """Reads samples of `dataset.pairs.PairDataset` from shards on this machine, at the sample rate of the shards.

    Args:
        clips: of one split; `clips.seconds` is the length of a sample's sound.
        size: height and width of the frames, pixels.
        step: frames are sampled at multiples of this time, seconds.
        moments: times of a sample.
    """

    def __init__(self, clips: ShardedClips, size: int, step: float, moments: int) -> None:
        self.clips, self.size, self.step, self.moments = clips, size, step, moments
        self.rate = clips.settings["rate"]

    def read(
        self,
        indices: list[int],
        fractions: np.ndarray,
        offsets: np.ndarray,
        frames: list[np.ndarray],
        sounds: list[np.ndarray],
    ) -> list[float | None]:
        """Read N samples.

        Args:
            indices: N of their clips.
            fractions: (N,) in 0..1, which choose their times.
            offsets: (N,) of their sounds from their frames, seconds.
            frames: N arrays for their frames, (S, S, 3) or (M, S, S, 3) uint8.
            sounds: N arrays for their sounds, (samples,) or (M, samples) int16.

        Returns:
            the time of each sample, of its middle moment, seconds; None where it was not read: then its clip must be
            opened, which says what is wrong.
        """
        wanted = self._plan(np.array(indices), fractions, offsets)
        stored = {shard: self._stored(shard) for shard in set(wanted.shards)}
        usual = np.flatnonzero(wanted.is_usual).tolist()
        heard = [n for n in usual if self._read_sounds(stored[wanted.shards[n]], wanted, n, sounds[n])]
        decoded: dict[tuple[int, int], np.ndarray] = {}
        seen = [n for n in heard if self._read_frames(stored[wanted.shards[n]], wanted, n, frames[n], decoded)]
        times: list[float | None] = [None] * len(indices)
        middle = wanted.times[:, self.moments // 2].tolist()
        for n in seen:
            times[n] = middle[n]
        return times

    def _plan(self, indices: np.ndarray, fractions: np.ndarray, offsets: np.ndarray) -> Wanted:
        """Choose what is read."""
        shards, places, is_usual = self.clips.find_many(indices)
        end = sound_end(places["samples"], self.rate, places["last"], places["video_end"])
        first, last = self.clips.seconds / 2, np.minimum(end - self.clips.seconds / 2, places["video_end"])
        lowest, count = multiples_between(first, last, self.step)
        is_usual = is_usual & (first <= last) & (np.maximum(count, 1) >= self.moments)
        chosen = (np.arange(self.moments) + fractions[:, None]) / self.moments * np.maximum(count, 1)[:, None]
        times = lowest * self.step + chosen.astype(np.int64) * self.step
        times = np.where(count[:, None] > 0, times, first)
        length = sound_samples(self.clips.seconds, self.rate)
        starts = np.rint((times + offsets[:, None] - self.clips.seconds / 2) * self.rate)
        starts = np.minimum(np.maximum(starts, 0), places["samples"].astype(np.int64)[:, None] - length)
        sounds = places["sound"][:, None] + 2 * starts.astype(np.int64)
        numbers = self._frame_numbers(places, times)
        blocks, sizes = (self.clips.index.frames[name][numbers] for name in ("block", "bytes"))
        offsets_in_tar = blocks.astype(np.int64) * TAR_BLOCK
        return Wanted(
            is_usual, shards.tolist(), times, offsets_in_tar.tolist(), sizes.tolist(), sounds.ravel().tolist()
        )

    def _frame_numbers(self, places: np.ndarray, times: np.ndarray) -> list[int]:
        """Find the kept frame shown at each time, as a row of the frames of all clips."""
        all_times, numbers = self.clips.index.times, []
        first_frames, first_times, counts = (places[name].tolist() for name in ("frame", "time", "frames"))
        for own, frame, low, count in zip(
            (times + TIME_TOLERANCE).tolist(), first_frames, first_times, counts, strict=True
        ):
            for time in own:
                numbers.append(frame + max(bisect_right(all_times, time, low, low + count) - low - 1, 0))
        return numbers

    def _stored(self, shard: int) -> FileBytes | RemoteBytes | None:
        try:
            return self.clips.stored(shard)
        except MediaError:
            return None

    def _read_sounds(self, stored: FileBytes | RemoteBytes | None, wanted: Wanted, n: int, out: np.ndarray) -> bool:
        """Read the sounds of a sample; False if they can't be read, or may be of a clip that is silent."""
        rows = out[None] if self.moments == 1 else out
        try:
            for m, row in enumerate(rows, n * self.moments):
                if stored is None:
                    return False
                stored.read_into(wanted.sounds[m], row)
        except MediaError:
            return False
        return any(is_louder(row[:SHORT_PART], 1) or is_louder(row, 1) for row in rows)

    def _read_frames(
        self,
        stored: FileBytes | RemoteBytes | None,
        wanted: Wanted,
        n: int,
        out: np.ndarray,
        decoded: dict[tuple[int, int], np.ndarray],
    ) -> bool:
        """Decode the frames of a sample; False if they can't be read."""
        try:
            for m, row in enumerate(out[None] if self.moments == 1 else out, n * self.moments):
                start, size = wanted.frames[m], wanted.sizes[m]
                key = (wanted.shards[n], start)
                if key in decoded:
                    row[...] = decoded[key]
                elif stored is None:
                    return False
                else:
                    decoded[key] = decode_frame(stored[start : start + size], self.size, out=row)
        except (MediaError, ValueError):
            return False
        return True
