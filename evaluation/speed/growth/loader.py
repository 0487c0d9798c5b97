"""How the loader's memory grows with the number of clips: what a worker process keeps for itself alone."""

import gc
import re
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from dataset.loading.loader import Batch, Key, SampleDataset, SharedBatch, SharedMemoryPool, make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.reading.clips import SplitClips

FETCH = 2000  # clips of a batch
LABELS = [f"/m/{number:05x}" for number in range(527)]  # as many as AudioSet has


class Looked(SampleDataset):
    """Reads the id and the labels of each clip and nothing else; the times of a batch are memory of the process, MB.

    Args:
        clips: of one split.
    """

    def __init__(self, clips: SplitClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def load_batches(self, keys: list[Key], pool: SharedMemoryPool | None = None) -> list[Batch | SharedBatch]:
        """Look at clips.

        Args:
            keys: (epoch, index) of each.
            pool: None.
        """
        for _, index in keys:
            if not (self.clips.ids[index] and self.clips.labels[index]):
                raise ValueError("made-up clips have ids and labels")
        return [{"times": torch.tensor([own_megabytes()])}]


def own_megabytes() -> float:
    """Sum the memory that this process shares with no other one, MB."""
    sizes = re.findall(r"Private_(?:Clean|Dirty): +(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    return sum(map(int, sizes)) / 1000


def made_up_clips(count: int) -> SplitClips:
    """Make a split of `count` clips, with ids of 11 letters and one to three labels each, without files."""
    labels = {f"{k * 7919 % 10**11:011d}": [LABELS[(k + j) % 527] for j in range(1 + k % 3)] for k in range(count)}
    return SplitClips(Path("train"), labels, {}, {})


def measure(size: int) -> dict[str, float]:
    """Measure a worker process that has looked at all clips of a split.

    Args:
        size: number of clips.

    Returns:
        megabytes that are the worker's own, and how many of them came while it looked at the clips.
    """
    used = worker_megabytes(Looked(made_up_clips(size)), size)
    return {"megabytes": used[-1], "megabytes_of_clips": used[-1] - used[0]}


def worker_megabytes(dataset: SampleDataset, size: int) -> list[float]:
    """Load all clips in a random order with one worker process, and list its own memory after each batch, MB.

    Args:
        dataset: like `Looked`.
        size: number of clips.
    """
    order = EpochBatchSampler(size, FETCH, seed=0)
    gc.collect()
    gc.freeze()  # a collection here, after the fork, would copy our pages and leave the worker the old ones as its own
    try:
        batches: Any = make_loader(dataset, order, workers=1)
        return [batch["times"].item() for batch in islice(batches, order.per_epoch)]
    finally:
        gc.unfreeze()
