"""Shared memory that passes batches from worker processes to training.

Passing a large tensor between processes allocates new shared memory each time, and touching its pages costs as much
as decoding a JPEG. So workers write each batch into a slot of a pool of shared memory, and slots are reused.
"""

import itertools
import mmap
import multiprocessing
import os
import sys
import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.memory import available_memory

SPARE = 2  # fetches in shared memory that training holds, beside those that are loaded
AHEAD_BYTES = 2 * 10**9  # of shared memory, within which each process may load more than one fetch ahead

_POOLS: "weakref.WeakValueDictionary[int, SharedMemoryPool]" = weakref.WeakValueDictionary()  # by their numbers
_POOL_NUMBERS = itertools.count()  # a pool has the same number in the worker processes, which are forked later


class SharedMemoryPool:
    """Slots of shared memory for batches. Make it before the workers are forked, and keep it while they run.

    The system allocates memory as slots are first used. The size of /dev/shm doesn't limit it.

    Args:
        slots: batches that can be in use at the same time.
        size: of a slot, bytes.
    """

    def __init__(self, slots: int, size: int) -> None:
        size = -(-max(size, 1) // 64) * 64
        self.memory = np.frombuffer(mmap.mmap(-1, slots * size), np.uint8).reshape(slots, size)
        self._taken = np.frombuffer(mmap.mmap(-1, slots), np.uint8)
        self._lock = multiprocessing.get_context("fork").Lock()
        self.number = next(_POOL_NUMBERS)
        _POOLS[self.number] = self

    def take(self, size: int) -> int | None:
        """Reserve a free slot for `size` bytes; returns its number, or None if none is free or large enough."""
        if size > self.memory.shape[1]:
            return None
        with self._lock:
            free = np.flatnonzero(self._taken == 0)
            if not len(free):
                return None
            self._taken[free[0]] = 1
            return int(free[0])

    def free(self, slot: int) -> None:
        """Release the slot with the number `slot`: its content may be overwritten from now on."""
        self._taken[slot] = 0


class SharedBatch:
    """A batch whose arrays lie in a slot. A process that unpickles it gets the batch, and frees the slot with it.

    Tensors outside the slot are pickled by value: torch would pass them by file descriptors, of which few may be open,
    through a socket in TMPDIR, which a worker that is killed leaves there.

    Args:
        pool: of the slot; None if there is no slot.
        slot: its number.
        batch: from `collate`, some of whose tensors are views of the slot.
    """

    def __init__(self, pool: SharedMemoryPool | None, slot: int, batch: dict[str, Any]) -> None:
        self.pool, self.slot, self.batch = pool, slot, batch

    def __reduce__(self) -> tuple[Callable[..., dict[str, Any]], tuple]:
        memory = np.empty(0, np.uint8) if self.pool is None else self.pool.memory[self.slot]
        views, rest = {}, {}
        for name, value in self.batch.items():
            offset = value.data_ptr() - memory.ctypes.data if torch.is_tensor(value) else -1
            if 0 <= offset < memory.nbytes and value.numel():
                views[name] = offset, tuple(value.shape), value.dtype
            else:
                rest[name] = value.numpy() if torch.is_tensor(value) else value
        return _rebuild_batch, (None if self.pool is None else self.pool.number, self.slot, views, rest)


def _rebuild_batch(number: int | None, slot: int, views: dict[str, tuple], rest: dict[str, Any]) -> dict[str, Any]:
    """Unpickle a SharedBatch: `views` of the slot, given as (offset, shape, dtype), and the rest."""
    batch = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in rest.items()}
    if number is not None:
        pool = _POOLS[number]
        memory = pool.memory[slot]  # a new array object, which the tensors keep alive
        weakref.finalize(memory, pool.free, slot).atexit = False
        flat = torch.from_numpy(memory)
        batch |= {name: tensor_view(flat, *view) for name, view in views.items()}
    return batch


def tensor_view(flat: Tensor, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """View the bytes of `flat`, (bytes,) uint8, from `offset` on as a tensor of a `shape` and `dtype`."""
    return flat[offset : offset + prod(shape) * dtype.itemsize].view(dtype).view(shape)


def fit_memory(workers: int, size: int, prefetch: int) -> tuple[int, int]:
    """Bound the shared memory for batches: load fewer ahead, or with fewer processes, which is reported.

    Args:
        workers: processes that load.
        size: of a fetch, bytes.
        prefetch: fetches that each process loads ahead.

    Returns:
        the processes that load, and the fetches that each loads ahead; both at least 1, with any size.
    """
    while prefetch > 1 and (workers * prefetch + SPARE) * size > AHEAD_BYTES:
        prefetch -= 1
    limit = available_memory(torch.device("cpu")) // 4 // max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    fitting = workers if not size else min(workers, max(limit // size - SPARE, 1))
    if fitting < workers:
        print(
            f"warning: {fitting} of {workers} loader processes: batches that are loaded at the same time take "
            f"{size / 1e9:.2f} GB for each, and may take {limit / 1e9:.1f} GB, a quarter of the memory "
            "(train.batch_size, data.samples_per_decode)",
            file=sys.stderr,
        )
    return fitting, prefetch
