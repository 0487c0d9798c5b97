"""Batches of samples: collated, loaded by worker processes, passed to the training process in shared memory.

Passing a large tensor between processes makes new shared memory each time, and its pages cost more than copying: as
much as decoding a JPEG. So workers write a batch into one of a few slots of memory that all processes share and reuse.
"""

import atexit
import itertools
import mmap
import multiprocessing
import signal
import weakref
from collections import Counter

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from utils.errors import UserError


def make_sample(frame, sound, index=0, time=0.0, seed=0, **flow):
    """An item of `PairDataset` from a frame (S, S, 3) uint8 and its second of sound (R,) int16, for `collate`."""
    return {"index": index, "time": time, "frame": frame, "sound": sound, "seed": seed, **flow}


def collate(samples):
    """Stack samples into one batch.

    Returns:
        dict: frames (B, S, S, 3) uint8, sounds (B, R) int16, seeds (B,) int64, indices (B,) int64,
        times (B,) float64, and `errors`: list of (clip id, message) of those that could not be read. Where the samples
        have another second of sound, sounds are (2 B, R): those of the frames, then the others. Several frames are
        (B, T, S, S, 3); flows (B, S, S, 2 * fields) int8 are there if the samples have them.
    """
    good = [sample for sample in samples if "error" not in sample]
    batch = _small_parts(good)
    batch["errors"] = [(sample["clip"], sample["error"]) for sample in samples if "error" in sample]
    kinds = [("frame", "frames"), ("sound", "sounds")]
    kinds += [("flow", "flows")] if good and "flow" in good[0] else []
    for key, name in kinds:
        batch[name] = torch.from_numpy(np.stack([s[key] for s in good])) if good else torch.empty(0)
    if good and "other" in good[0]:
        batch["sounds"] = torch.cat([batch["sounds"], torch.from_numpy(np.stack([s["other"] for s in good]))])
    return batch


def _small_parts(good):
    """The seeds, indices and times of readable samples, for a batch."""
    return {
        "seeds": torch.tensor([s["seed"] for s in good], dtype=torch.int64),
        "indices": torch.tensor([s["index"] for s in good], dtype=torch.int64),
        "times": torch.tensor([s["time"] for s in good], dtype=torch.float64),
    }


class BatchBuilder:
    """A batch that is filled sample by sample, its large parts in one piece of memory each.

    That lies in a slot of the ring, if there is one and a slot is free.

    Args:
        layout: of `Pairs.layout`. ring: a `Ring`, or None.
    """

    def __init__(self, layout, ring):
        size = sum(aligned_size(shape, dtype) for _, _, shape, dtype in layout)
        self.ring, self.slot = ring, ring.take(size) if ring else None
        flat, offset = None if self.slot is None else torch.from_numpy(ring.memory[self.slot]), 0
        self.parts = {}
        for key, name, shape, dtype in layout:
            empty = torch.empty(shape, dtype=dtype) if flat is None else tensor_view(flat, offset, shape, dtype)
            self.parts[key] = name, empty
            offset += aligned_size(shape, dtype)
        self.good, self.errors = [], []

    def add(self, sample):
        """Take a sample of `Pairs`; of one that can't be read, its error."""
        if "error" in sample:
            self.errors.append((sample["clip"], sample["error"]))
            return
        for key, (_, tensor) in self.parts.items():
            tensor.numpy()[len(self.good)] = sample.pop(key)
        self.good.append(sample)

    def build(self):
        """The batch as `collate` gives it, or an `InRing` of it."""
        batch = collate([{"clip": clip, "error": error} for clip, error in self.errors])
        if self.good:
            batch |= _small_parts(self.good) | {name: rows[: len(self.good)] for name, rows in self.parts.values()}
        if "others" in batch:
            batch["sounds"] = torch.cat([batch["sounds"], batch.pop("others")])
        return batch if self.slot is None else SharedBatch(self.ring, self.slot, batch)


def aligned_size(shape, dtype):
    """Bytes that a tensor takes in a slot: a multiple of 64, so that the next one begins on a whole number of any."""
    return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


def drop_unreadable(batches, skipped, smallest=1):
    """Pass batches on, taking note of clips that can't be read.

    Args:
        batches: iterable of collated batches.
        skipped: callable (clip id, message) that raises or takes note.
        smallest: readable clips that a batch must have.

    Raises:
        UserError: a batch has fewer readable clips.
    """
    for batch in batches:
        for clip, message in batch["errors"]:
            skipped(clip, message)
        count = len(batch["indices"])
        if count < smallest:
            raise UserError(f"a batch needs {smallest} readable clips and has {count}: {batch['errors'][0][1]}")
        yield batch


def make_skip_handler(skipped, on_error):
    """What `readable` shall do with a clip that can't be read: a callable (clip id, message).

    Args:
        skipped: dict that gets {id: message}. on_error: "stop" raises a UserError instead; of data.on_error.
    """

    def note(clip, message):
        if on_error == "stop":
            raise UserError(message)
        skipped[clip] = message

    return note


def _start_worker(_):
    for stop in (signal.SIGINT, signal.SIGTERM):  # the training process answers, and ends its loaders afterwards
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(1)


@atexit.register
def _end_workers():
    """A script that fails ends its loaders too: they ignore SIGTERM, which Python sends them and then waits."""
    workers = multiprocessing.active_children()
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call it an error
    for worker in workers:
        worker.kill()


class _BatchDataset(Dataset):
    """What a loader process fetches at a time: a list of batches; those of `Pairs` by way of the ring, if any."""

    def __init__(self, pairs, ring):
        self.pairs, self.ring = pairs, ring

    def __len__(self):
        return len(self.pairs)

    def __getitems__(self, keys):
        if hasattr(self.pairs, "layout"):
            return self.pairs.__getitems__(keys, self.ring)
        return [collate([self.pairs[key] for key in keys])]


class _BatchLoader(DataLoader):
    """One batch after the other, however many are fetched at a time."""

    def __iter__(self):
        for fetched in super().__iter__():
            yield from fetched


def make_loader(pairs, batches, workers, device="cpu"):
    """Batches of `pairs`, as `collate` gives them, in the order of `batches`.

    Args:
        pairs: a `Pairs`, or a dataset with samples like its. batches: an `EpochBatches`, or lists of (epoch, index).
        workers: processes; any number gives the same batches. With none, this process loads.
        device: of the net; for a GPU, batches are pinned.

    Returns:
        an iterable, for any number of passes. A batch is the caller's, as long as it is kept.
    """
    visit = getattr(batches, "samples_per_decode", 1)
    ahead = 4 if visit == 1 else 2  # visits that a process is ahead
    ring = None
    if workers and hasattr(pairs, "layout"):
        count = max(Counter(epoch for epoch, _ in next(iter(batches), [])).values(), default=0)  # clips in a batch
        size = sum(aligned_size(shape, dtype) for _, _, shape, dtype in pairs.layout(count))
        ring = SharedMemoryPool((workers * ahead + 2) * visit, size)
    return _BatchLoader(
        _BatchDataset(pairs, ring),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if workers else None,  # the cache is inherited, not pickled
        prefetch_factor=ahead if workers else None,
        persistent_workers=bool(workers),
    )


def _identity(batches):
    return batches


_POOLS = weakref.WeakValueDictionary()  # by number, the same in the processes forked later
_POOL_NUMBERS = itertools.count()


class SharedMemoryPool:
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
        self.number = next(_POOL_NUMBERS)
        _POOLS[self.number] = self

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


class SharedBatch:
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
        return _rebuild_batch, (self.ring.number, self.slot, parts, rest)


def _rebuild_batch(number, slot, parts, rest):
    """The batch of an `InRing`, its tensors views of the slot."""
    ring = _POOLS[number]
    memory = ring.memory[slot]  # an array of its own: the tensors keep it, and its end is theirs
    weakref.finalize(memory, ring.free, slot).atexit = False
    flat = torch.from_numpy(memory)
    batch = {name: tensor_view(flat, *where) for name, where in parts.items()}
    return batch | {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in rest.items()}


def tensor_view(flat, offset, shape, dtype):
    """A tensor in a (bytes,) uint8 one, from the byte `offset` on, which `dtype` divides."""
    size = int(np.prod(shape)) * dtype.itemsize
    return flat[offset : offset + size].view(dtype).view(shape)
