"""Measure how long training waits for batches, and say what to do about it."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from configs.schema import Config
from utils import distributed
from utils.child_processes import own_cores
from utils.config import list_settings

Mark = Any  # a moment: seconds, or an event in the queue of a GPU
WAITS_ON_GPU, WAITS_ON_CPU = 0.3, 0.7  # shares from which on to warn; on a CPU, loading takes cores from training
MIN_BATCHES, MIN_SECONDS = 50, 30.0  # that are measured before a warning


class _Batch(NamedTuple):
    """When its predecessor's work ended, and when it arrived."""

    before: Mark
    after: Mark


class WaitTimer:
    """Measures the share of the time in which the device has nothing to do because no batch is there.

    The host queues work ahead of a GPU, so its own waiting says little: on a GPU the moments are events in the queue,
    whose distance is the time without work. They are read at lines of the log alone, where the host waits anyway.

    Args:
        config: names what could be changed.
        device: of the net.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.is_gpu = config, device.type == "cuda"
        self._open: _Batch | None = None  # the batch whose work isn't over
        self._done: list[tuple[_Batch, Mark]] = []  # with when their work was over
        self._batches, self._waited, self._seconds = 0, 0.0, 0.0  # since the start or the last judgement
        self._started = self._warned = False

    def next(self, batches: Iterator[Any]) -> Any:
        """Get the next of the `batches`, and measure how long that takes."""
        before = self.pause()
        batch = next(batches)
        self._open = _Batch(before, self._mark())
        return batch

    def pause(self) -> Mark:
        """End the time of the last batch: what follows, a validation, isn't counted; returns this moment."""
        now = self._mark()
        if self._open is not None:
            self._done.append((self._open, now))
            self._open = None
        return now

    def share(self) -> float:
        """Compute the share of the time since the last call that was spent waiting, 0..1.

        Of several processes the longest one's counts, as it holds up the others; all call this together.
        """
        self.pause()
        if self.is_gpu and self._done:
            self._done[-1][1].synchronize()
        waited = sum(self._between(batch.before, batch.after) for batch, _ in self._done)
        seconds = sum(self._between(batch.before, end) for batch, end in self._done)
        if self._started:  # the first line has the start of the workers in it
            self._batches += len(self._done)
            self._waited, self._seconds = self._waited + waited, self._seconds + seconds
        self._started, self._done = True, []
        shares = distributed.all_gather_numbers(waited / seconds if seconds else 0.0)
        return max(share for (share,) in shares)

    def problem(self) -> str:
        """Say once, in a sentence with the cure, that much of the time is spent waiting; else ""."""
        if self._batches < MIN_BATCHES or self._seconds < MIN_SECONDS:
            return ""
        share = self._waited / self._seconds
        self._batches, self._waited, self._seconds = 0, 0.0, 0.0
        if self._warned or share < (WAITS_ON_GPU if self.is_gpu else WAITS_ON_CPU):
            return ""
        self._warned = True
        return f"{share:.0%} of the time training waits for batches: {_cure(self.config)}"

    def _mark(self) -> Mark:
        if not self.is_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, one: Mark, other: Mark) -> float:
        return one.elapsed_time(other) / 1000 if self.is_gpu else other - one


def _cure(config: Config) -> str:
    """Say what gives more batches: workers if cores are left, else what makes a sample cheaper."""
    workers, cores, cures = config.train.workers, own_cores(), []
    if 0 <= workers < cores:
        cures.append(f"raise --train.workers ({workers}; this process has {cores} cores)")
    if not config.keeps_features:
        cures.append(f"raise --data.samples_per_decode ({config.data.samples_per_decode})")
        cures.append("read shards (python data/build_shards.py)")
        if config.model.pretrained and "data.feature_views" in list_settings(config):
            cures.append("keep the features of a frozen encoder (--train.lr_vision 0)")
    return " or ".join(cures) or "move the data to a faster disk or a machine with more cores"
