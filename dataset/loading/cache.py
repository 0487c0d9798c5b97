"""A cache of decoded clips in memory, shared by all loader processes: for datasets that fit.

Opening, seeking and decoding take most of the time of a sample. Each clip is decoded once, at all times that samples
can have, and kept uncompressed until the cache is full; all other clips are decoded each time they are sampled.
"""

import mmap
import multiprocessing
from typing import NamedTuple

import numpy as np

_EMPTY, _CACHED, _NO_SPACE = 0, 1, 2  # states of a clip


class CachedClip(NamedTuple):
    """A decoded clip."""

    first: float  # time of the first frame, seconds
    frames: np.ndarray  # (n, S, S, 3) uint8, one for each time that a sample can have
    sound: np.ndarray  # (samples,) int16, the whole sound


class ClipCache:
    """Decoded clips in anonymous shared memory, which forked processes inherit.

    Args:
        clips: number of clips in the split.
        gigabytes: size of the cache. The system allocates the memory as it fills.
    """

    def __init__(self, clips: int, gigabytes: float) -> None:
        self._memory = np.frombuffer(mmap.mmap(-1, max(int(gigabytes * 1e9), 1)), np.uint8)
        # Of each clip: state, offset, number of frames, side of a frame, samples of the sound; time of the first frame.
        self._table = np.frombuffer(mmap.mmap(-1, clips * 5 * 8), np.int64).reshape(clips, 5)
        self._first = np.frombuffer(mmap.mmap(-1, clips * 8), np.float64)
        self._used = multiprocessing.get_context("fork").Value("q", 0)  # bytes

    def get(self, index: int) -> CachedClip | None:
        """Get the clip at `index` of its split, or None if it isn't in the cache."""
        state, offset, count, side, samples = self._table[index].tolist()
        if state != _CACHED:
            return None
        middle = offset + count * side * side * 3
        frames = self._memory[offset:middle].reshape(count, side, side, 3)
        return CachedClip(float(self._first[index]), frames, self._memory[middle : middle + 2 * samples].view(np.int16))

    def worth_filling(self, index: int, size: int) -> bool:
        """Check, before a clip is decoded, that it isn't in the cache and isn't too large for what is left of it.

        Args:
            index: of the clip in its split.
            size: of its frames and sound, bytes.
        """
        if self._used.value + size > self._memory.nbytes and self._table[index, 0] == _EMPTY:
            self._table[index, 0] = _NO_SPACE
        return bool(self._table[index, 0] == _EMPTY)

    def put(self, index: int, first: float, frames: np.ndarray, sound: np.ndarray) -> None:
        """Store a clip if there is space. Two processes that put the same clip waste space, but do no harm.

        Args:
            index: of the clip in its split.
            first, frames, sound: see `CachedClip`.
        """
        size = frames.nbytes + sound.nbytes
        with self._used.get_lock():
            offset = self._used.value
            fits = offset + size <= self._memory.nbytes
            if fits:
                self._used.value += size + size % 2  # keep the int16 views aligned
        if not fits:
            self._table[index, 0] = _NO_SPACE
            return
        self._memory[offset : offset + frames.nbytes] = frames.reshape(-1)
        self._memory[offset + frames.nbytes : offset + size] = sound.view(np.uint8)
        self._table[index, 1:] = offset, len(frames), frames.shape[1], len(sound)
        self._first[index] = first
        self._table[index, 0] = _CACHED  # last, so that no reader sees an incomplete clip
