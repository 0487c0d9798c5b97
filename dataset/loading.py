"""Batches in the order of `dataset.order`, fetched by processes that are a little ahead of the training."""

import atexit
import multiprocessing
import signal
from collections import Counter

import torch
from torch.utils.data import DataLoader, Dataset

from dataset.batches import aligned, collate
from dataset.ring import Ring
from utils.errors import UserError


def readable(batches, skipped, smallest=1):
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


def noting(skipped, on_error):
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


class _Fetched(Dataset):
    """What a loader process fetches at a time: a list of batches; those of `Pairs` by way of the ring, if any."""

    def __init__(self, pairs, ring):
        self.pairs, self.ring = pairs, ring

    def __len__(self):
        return len(self.pairs)

    def __getitems__(self, keys):
        if hasattr(self.pairs, "layout"):
            return self.pairs.__getitems__(keys, self.ring)
        return [collate([self.pairs[key] for key in keys])]


class _Loader(DataLoader):
    """One batch after the other, however many are fetched at a time."""

    def __iter__(self):
        for fetched in super().__iter__():
            yield from fetched


def loader(pairs, batches, workers, device="cpu"):
    """Batches of `pairs`, as `collate` gives them, in the order of `batches`.

    Args:
        pairs: a `Pairs`, or a dataset with samples like its. batches: an `EpochBatches`, or lists of (epoch, index).
        workers: processes; any number gives the same batches. With none, this process loads.
        device: of the net; for a GPU, batches are pinned.

    Returns:
        an iterable, for any number of passes. A batch is the caller's, as long as it is kept.
    """
    visit = getattr(batches, "samples_per_visit", 1)
    ahead = 4 if visit == 1 else 2  # visits that a process is ahead
    ring = None
    if workers and hasattr(pairs, "layout"):
        count = max(Counter(epoch for epoch, _ in next(iter(batches), [])).values(), default=0)  # clips in a batch
        size = sum(aligned(shape, dtype) for _, _, shape, dtype in pairs.layout(count))
        ring = Ring((workers * ahead + 2) * visit, size)
    return _Loader(
        _Fetched(pairs, ring),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if workers else None,  # the cache is inherited, not pickled
        prefetch_factor=ahead if workers else None,
        persistent_workers=bool(workers),
    )


def _as_it_is(batches):
    return batches
