"""Decoded clips in memory, shared by all loader processes: for datasets that fit.

Opening, seeking and decoding is nearly all that a sample costs. A clip is decoded once, at the instants that samples
are drawn from, and kept raw until `gigabytes` are full; clips beyond that are decoded at every visit.
"""

import mmap
import multiprocessing

import numpy as np

_EMPTY, _KEPT, _NO_ROOM = 0, 1, 2


class ClipCache:
    """A bump-allocated arena of raw clips in anonymous shared memory, inherited by forked processes.

    Args:
        clips: number of clips.
        gigabytes: size of the arena. Memory is taken as it fills, not at once.
    """

    def __init__(self, clips, gigabytes):
        self._arena = np.frombuffer(mmap.mmap(-1, max(int(gigabytes * 1e9), 1)), np.uint8)
        # Per clip: state, offset, frames, side of a frame, samples of sound; and the time of the first frame, seconds.
        # In shared memory like the arena.
        self._table = np.frombuffer(mmap.mmap(-1, clips * 5 * 8), np.int64).reshape(clips, 5)
        self._first = np.frombuffer(mmap.mmap(-1, clips * 8), np.float64)
        self._used = multiprocessing.get_context("fork").Value("q", 0)

    def get(self, index):
        """The kept (first time in seconds, frames (n, s, s, 3) uint8, sound (m,) int16) of a clip, or None."""
        state, offset, count, side, samples = self._table[index].tolist()
        if state != _KEPT:
            return None
        middle = offset + count * side * side * 3
        frames = self._arena[offset:middle].reshape(count, side, side, 3)
        return float(self._first[index]), frames, self._arena[middle : middle + 2 * samples].view(np.int16)

    def worth_filling(self, index):
        """Whether nothing was decided about this clip yet."""
        return self._table[index, 0] == _EMPTY

    def put(self, index, first, frames, sound):
        """Keep a clip if there is room. Two processes that put the same clip waste room, never harm."""
        size = frames.nbytes + sound.nbytes
        with self._used.get_lock():
            offset = self._used.value
            fits = offset + size <= self._arena.nbytes
            if fits:
                self._used.value += size + size % 2  # keep int16 views aligned
        if not fits:
            self._table[index, 0] = _NO_ROOM
            return
        self._arena[offset : offset + frames.nbytes] = frames.reshape(-1)
        self._arena[offset + frames.nbytes : offset + size] = sound.view(np.uint8)
        self._table[index, 1:] = offset, len(frames), frames.shape[1], len(sound)
        self._first[index] = first
        self._table[index, 0] = _KEPT  # last, so that a reader never sees half a clip
