"""Batches from loader processes by way of memory that all of them share.

Passing a large tensor between processes makes new shared memory each time, and its pages cost more than copying: as
much as decoding a JPEG. Here a batch is written where the training process finds it, into one of a few slots that are
used again and again.
"""

import itertools
import mmap
import multiprocessing
import weakref

import numpy as np
import torch

_RINGS = weakref.WeakValueDictionary()  # by number, the same in the processes forked later
_NUMBERS = itertools.count()


class Ring:
    """Slots for batches. Make it before the loader processes are forked, and keep it while they run.

    Memory is taken as slots are first used. It is not bound by the size of /dev/shm.

    Args:
        slots: how many batches can be under way. size: of a slot, bytes.
    """

    def __init__(self, slots, size):
        size = -(-max(size, 1) // 64) * 64
        self.memory = np.frombuffer(mmap.mmap(-1, slots * size), np.uint8).reshape(slots, size)
        self._taken = np.frombuffer(mmap.mmap(-1, slots), np.uint8)
        self._lock = multiprocessing.get_context("fork").Lock()
        self.number = next(_NUMBERS)
        _RINGS[self.number] = self

    def take(self, size):
        """The number of a free slot, which is then taken; None if none is free or `size` bytes are more than one."""
        if size > self.memory.shape[1]:
            return None
        with self._lock:
            free = np.flatnonzero(self._taken == 0)
            if not len(free):
                return None
            self._taken[free[0]] = 1
            return int(free[0])

    def free(self, slot):
        """Give a slot back; its content may be overwritten from now on."""
        self._taken[slot] = 0


class InRing:
    """A batch whose large tensors lie in a slot. What another process unpickles is the batch itself.

    The slot is free again when the last of those tensors is gone, whoever keeps them and how long.

    Args:
        ring: a `Ring`. slot: its number. batch: dict of tensors, of which some are parts of the slot, and others.
    """

    def __init__(self, ring, slot, batch):
        self.ring, self.slot, self.batch = ring, slot, batch

    def __reduce__(self):
        memory = self.ring.memory[self.slot]
        parts, rest = {}, {}
        for name, value in self.batch.items():
            offset = value.data_ptr() - memory.ctypes.data if torch.is_tensor(value) else -1
            if 0 <= offset < memory.nbytes and value.numel():
                parts[name] = offset, tuple(value.shape), value.dtype
            else:  # small tensors as arrays, by value
                rest[name] = value.numpy() if torch.is_tensor(value) else value
        return _opened, (self.ring.number, self.slot, parts, rest)


def _opened(number, slot, parts, rest):
    """The batch of an `InRing`, its tensors views of the slot."""
    ring = _RINGS[number]
    memory = ring.memory[slot]  # an array of its own: the tensors keep it, and its end is theirs
    weakref.finalize(memory, ring.free, slot).atexit = False
    flat = torch.from_numpy(memory)
    batch = {name: part(flat, *where) for name, where in parts.items()}
    return batch | {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in rest.items()}


def part(flat, offset, shape, dtype):
    """A tensor in a (bytes,) uint8 one, from the byte `offset` on, which `dtype` divides."""
    size = int(np.prod(shape)) * dtype.itemsize
    return flat[offset : offset + size].view(dtype).view(shape)
