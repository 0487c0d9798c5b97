"""Load batches: collate samples, read them in worker processes, pass them to training in shared memory."""

import atexit
import gc
import multiprocessing
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter

from dataset.loading.shared_memory import SPARE, SharedBatch, SharedMemoryPool, fit_memory, tensor_view
from utils.child_processes import end_with_parent, own_cores
from utils.errors import UserError
from utils.memory import release_freed_memory
from utils.system_errors import TYPES, describe_machine_error, is_memory_error

Key = tuple[int, int]  # (epoch, index of the clip): a sample of a dataset
Sample = dict[str, Any]  # see `make_sample`; of a clip that can't be read {"index", "clip", "error"}
Batch = dict[str, Any]  # see `collate`
Place = dict[str, np.ndarray]  # {key of a sample's array: those of all samples of a batch}
SkipHandler = Callable[[str, str], None]  # called with the id and the error message of a clip that can't be read

# {array of a sample: its name in a batch}
BATCH_NAMES = {
    "frame": "frames", "features": "features", "sound": "sounds", "other_sound": "other_sounds", "flow": "flows",
}  # fmt: skip


def make_sample(
    frame: np.ndarray,
    sound: np.ndarray,
    index: int = 0,
    time: float = 0.0,
    seed: int = 0,
    other_sound: np.ndarray | None = None,
    flow: np.ndarray | None = None,
) -> Sample:
    """Build a sample for `collate`.

    Args:
        frame: (S, S, 3) uint8 RGB, or (T, S, S, 3) for several frames or moments.
        sound: (R,) int16, or (T, R) for several moments.
        index: of the clip in its split.
        time: of the frame, seconds.
        seed: 64-bit integer that the augmentation draws from, see `dataset.pairs.sample_seed`.
        other_sound: (R,) int16, another second of the clip's sound, or None.
        flow: (S, S, 2 * fields) int8 optical flow, see `dataset.reading.flow`, or None.
    """
    sample = {"index": index, "time": time, "seed": seed, "frame": frame, "sound": sound}
    optional = {"other_sound": other_sound, "flow": flow}
    return sample | {key: array for key, array in optional.items() if array is not None}


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into one batch.

    Args:
        samples: from `make_sample`, or errors of clips that can't be read; all with the same arrays.

    Returns:
        dict of the B samples that could be read: frames (B, S, S, 3) or (B, T, S, S, 3) uint8, sounds (B, R) int16,
        or (B, T, R) for several moments, seeds (B,) int64, indices (B,) int64, times (B,) float64; flows
        (B, S, S, 2 * fields) int8 if samples have them; features (B, C, h, w) or (B, T, C, h, w) float16 in place of
        frames if samples have those; and errors, list of (clip id, message) of the others. If
        samples have another sound, sounds are (2 * B, R): those of the frames, then the others.
    """
    readable = [sample for sample in samples if "error" not in sample]
    errors = [(sample["clip"], sample["error"]) for sample in samples if "error" in sample]
    arrays = {}
    for key, name in BATCH_NAMES.items():
        if readable and key in readable[0]:
            arrays[name] = torch.from_numpy(np.stack([sample[key] for sample in readable]))
    return _assemble([(sample["seed"], sample["index"], sample["time"]) for sample in readable], errors, arrays)


def _assemble(facts: list[tuple[int, int, float]], errors: list[tuple[str, str]], arrays: dict[str, Tensor]) -> Batch:
    """Build the batch of readable samples, given as (seed, index, time), whose arrays are stacked already."""
    frames = {} if "features" in arrays else {"frames": torch.empty(0)}
    batch: Batch = frames | {"sounds": torch.empty(0)} | arrays
    seeds, indices, times = zip(*facts, strict=True) if facts else ((), (), ())
    batch["seeds"] = torch.tensor(seeds, dtype=torch.int64)
    batch["indices"] = torch.tensor(indices, dtype=torch.int64)
    batch["times"] = torch.tensor(times, dtype=torch.float64)
    batch["errors"] = errors
    if "other_sounds" in batch:
        batch["sounds"] = torch.cat([batch["sounds"], batch.pop("other_sounds")])
    return batch


# ------------------------------------------------------------------------------------------------- worker processes


class TensorSpec(NamedTuple):
    """A tensor of a batch, in which the arrays of its samples are stacked."""

    key: str  # of a sample's array, a key of BATCH_NAMES
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes in a slot, rounded up to 64 so that the next one is aligned for any type."""
        return -(-prod(self.shape) * self.dtype.itemsize // 64) * 64


class SampleDataset(Dataset[Sample]):
    """A dataset that `make_loader` can load: `dataset[epoch, index]` is a sample.

    A subclass implements `__len__` and `__getitem__`. To pass batches in shared memory, or to read several samples of
    a clip at once, it also overrides `layout` and `load_batches`.

    Attributes:
        moments: times of a clip in a sample, each with its frame and its sound.
    """

    moments = 1

    def __len__(self) -> int:
        raise NotImplementedError

    def layout(self, count: int) -> list[TensorSpec]:
        """List the arrays of a batch of `count` samples that are passed in shared memory; none by default."""
        return []

    def load_batches(self, keys: list[Key], pool: SharedMemoryPool | None = None) -> list[Batch | SharedBatch]:
        """Load samples as batches, one for each epoch among the keys.

        Args:
            keys: (epoch, index) of each sample.
            pool: shared memory to write to, or None.
        """
        by_epoch: dict[int, list[Sample]] = {}
        for key in keys:
            by_epoch.setdefault(key[0], []).append(self[key])
        return [collate(samples) for samples in by_epoch.values()]


def make_loader(
    dataset: SampleDataset,
    order: Sampler[list[Key]] | list[list[Key]],
    workers: int,
    device: torch.device | str = "cpu",
) -> "BatchLoader":
    """Load batches of a dataset, as of `collate`. Their memory isn't reused while any of their tensors is kept.

    Args:
        dataset: gives the samples.
        order: the keys of each fetch, an `EpochBatchSampler` or a list. Each epoch among a fetch's keys is a batch.
        workers: processes that load; 0 loads in this process, -1 takes as many as it has cores; of a list no more than
            it has fetches. Batches do not depend on it.
        device: of the net; for a GPU, batches are in pinned memory.
    """
    workers = own_cores() if workers < 0 else workers
    workers = min(workers, len(order)) if isinstance(order, list) else workers
    clips_of_batch = Counter(epoch for epoch, _ in next(iter(order), []))  # of the first fetch
    size = sum(spec.nbytes for spec in dataset.layout(max(clips_of_batch.values(), default=0)))
    workers, prefetch = fit_memory(workers, size * len(clips_of_batch), 4 if len(clips_of_batch) <= 1 else 2)
    pool = SharedMemoryPool((workers * prefetch + SPARE) * len(clips_of_batch), size) if workers and size else None
    return BatchLoader(
        _Fetches(dataset, pool),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=list,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if workers else None,  # workers inherit the cache and the pool
        prefetch_factor=prefetch if workers else None,
        persistent_workers=bool(workers),
    )


class BatchLoader(DataLoader):
    """A DataLoader that fetches lists of batches and yields the batches."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batches in self._start():
            if batches and isinstance(batches[0], _WorkerError):
                raise batches[0].error
            yield from batches

    def _start(self) -> Iterator[Any]:
        """Start the workers; the system refuses it without memory, file descriptors or /dev/shm for their queues."""
        if self.num_workers:
            release_freed_memory()
        try:
            return super().__iter__()
        except Exception as error:
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if isinstance(half_made := frame.f_locals.get("self"), _BaseDataLoaderIter):
                    # Or it prints another traceback when it is collected.
                    half_made._shutdown = True  # type: ignore[attr-defined]
            raise


class _WorkerError(NamedTuple):
    """An error of a worker, which the DataLoader would wrap into another one with a traceback as its message."""

    error: Exception


class _Fetches(Dataset):
    """The lists of batches that a BatchLoader fetches."""

    def __init__(self, dataset: SampleDataset, pool: SharedMemoryPool | None) -> None:
        self.dataset, self.pool = dataset, pool

    def __getitems__(self, keys: list[Key]) -> list[Any]:
        if get_worker_info() is None:
            return self.dataset.load_batches(keys, self.pool)
        try:
            batches = self.dataset.load_batches(keys, self.pool)
        except UserError as error:
            return [_WorkerError(error)]
        except TYPES as error:  # as plain types: those of decoders can't all be pickled
            if is_memory_error(error):
                return [_WorkerError(MemoryError(str(error)))]
            if isinstance(error, OSError) and describe_machine_error(error, ""):
                return [_WorkerError(OSError(error.errno, error.strerror, error.filename))]
            raise
        return [batch if isinstance(batch, SharedBatch) else SharedBatch(None, 0, batch) for batch in batches]


def _start_worker(_: int) -> None:
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the training process handles them, then ends us
        signal.signal(stop, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    gc.freeze()  # the collector writes to each object that it looks at, and the system copies the pages of ours


@atexit.register
def _end_workers() -> None:
    """Kill the workers when a script fails: Python sends them SIGTERM, which they ignore, and waits for them."""
    workers = multiprocessing.active_children()
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an error
    for worker in workers:
        worker.kill()


def drop_unreadable(batches: Iterable[Batch], on_skip: SkipHandler, min_clips: int = 1) -> Iterator[Batch]:
    """Report the clips that can't be read, and yield the batches of the others.

    Args:
        batches: from `collate`.
        on_skip: called with the id and the error message of each clip that can't be read; may raise.
        min_clips: readable clips that a batch must have.

    Raises:
        UserError: a batch has fewer readable clips.
    """
    for batch in batches:
        for clip, message in batch["errors"]:
            on_skip(clip, message)
        count = len(batch["indices"])
        if count < min_clips:
            raise UserError(f"a batch needs {min_clips} readable clips and has {count}: {batch['errors'][0][1]}")
        yield batch


def make_skip_handler(skipped: dict[str, str], on_error: str) -> SkipHandler:
    """Make the function that `drop_unreadable` calls for a clip that can't be read.

    Args:
        skipped: gets {id: message}.
        on_error: the setting data.on_error: "skip", or "stop" to raise a UserError instead.
    """

    def on_skip(clip: str, message: str) -> None:
        if on_error == "stop":
            raise UserError(message)
        skipped[clip] = message

    return on_skip


class BatchBuilder:
    """Collates samples one by one, so that each large array is copied only once, or written where it belongs.

    Args:
        layout: from `SampleDataset.layout`.
        pool: shared memory to write to, if a slot is free; or None.
    """

    def __init__(self, layout: list[TensorSpec], pool: SharedMemoryPool | None) -> None:
        size, offset = sum(spec.nbytes for spec in layout), 0
        self.pool, self.slot = pool, pool.take(size) if pool else None
        memory = np.empty(size, np.uint8) if pool is None or self.slot is None else pool.memory[self.slot]
        self.arrays: dict[str, Tensor] = {}
        for spec in layout:
            self.arrays[spec.key] = tensor_view(torch.from_numpy(memory), offset, spec.shape, spec.dtype)
            offset += spec.nbytes
        self.places: Place = {key: tensor.numpy() for key, tensor in self.arrays.items()}
        self._facts: list[tuple[int, int, float]] = []  # of the samples that could be read: seed, index, time
        self.errors: list[tuple[str, str]] = []

    def add(self, sample: Sample) -> None:
        """Add a `sample`, or its error; its arrays are copied."""
        if "error" in sample:
            self.errors.append((sample["clip"], sample["error"]))
            return
        for key, array in self.places.items():
            array[len(self._facts)] = sample[key]
        self._facts.append((sample["seed"], sample["index"], sample["time"]))

    def add_written(self, row: int, seed: int, index: int, time: float) -> None:
        """Add a sample whose arrays were written to a row of `places`, none before the next one to be added.

        Args:
            row: its number.
            seed, index, time: of the sample, see `make_sample`.
        """
        if row != len(self._facts):  # an earlier one could not be read
            for array in self.places.values():
                array[len(self._facts)] = array[row]
        self._facts.append((seed, index, time))

    def build(self) -> Batch | SharedBatch:
        """Build what `collate` gives for the same samples, wrapped in a SharedBatch if it lies in shared memory."""
        count = len(self._facts)
        arrays = {BATCH_NAMES[key]: tensor[:count] for key, tensor in self.arrays.items() if count}
        batch = _assemble(self._facts, self.errors, arrays)
        return batch if self.pool is None or self.slot is None else SharedBatch(self.pool, self.slot, batch)
