"""How far a run is and when it stops: by epochs or by minutes, and on SIGINT, SIGTERM or SIGHUP."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from configs.schema import Train
from utils import distributed

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # of Ctrl-C, a batch system, a terminal that is closed
PATIENCE = 20.0  # with processes that do not answer after a signal, seconds: torchrun kills after 30


class RunClock:
    """The progress of a run. Of several processes, all follow process 0's time and stop at the same step.

    Args:
        train: train.max_minutes limits the run if it is set, else train.epochs does.
        steps_per_epoch: updates in an epoch.

    Attributes:
        seconds: training time of earlier starts of the run.
        last_validation: seconds that the last validation took.
    """

    def __init__(self, train: Train, steps_per_epoch: int) -> None:
        self.seconds, self.last_validation = 0.0, 0.0
        self._budget = train.max_minutes * 60  # seconds, or 0
        self._total = train.epochs * steps_per_epoch
        self._started = time.monotonic()
        self._signal: int | None = None
        # Of several processes: what they agreed on at the last batch, None before it.
        self._synced_seconds: float | None = None
        self._synced_stop = False

    def start(self) -> None:
        """Begin to count the time of this start of the run."""
        self._started = time.monotonic()

    def elapsed(self) -> float:
        """Training time in seconds, all starts of the run together."""
        return self.seconds + time.monotonic() - self._started

    def position(self, step: int) -> float:
        """Where the run is in what limits it: seconds, or the `step` (updates so far)."""
        return self.elapsed() if self._budget else step

    def progress(self, step: int) -> float:
        """The fraction of the run that is done, 0..1.

        Args:
            step: updates so far.
        """
        if not self._budget:
            return min(step / self._total, 1.0)
        budget = max(self._budget - self.last_validation, 1e-9)  # the last validation is part of the minutes
        return min(self.agreed_seconds() / budget, 1.0)

    def agreed_seconds(self) -> float:
        """Training time in seconds by which all processes decide: process 0's at the last batch."""
        if distributed.world_size() == 1:
            return self.elapsed()
        return self.seconds if self._synced_seconds is None else self._synced_seconds

    def sync(self, clips: int) -> list[int]:
        """Exchange the numbers of `clips` in this batch, and agree on the time and on whether to stop.

        Only for several processes, once for each batch. Goes between the hosts: no device is waited for.

        Returns:
            the number of clips of each process.
        """
        stop = self._signal is not None
        sizes, stops, times = zip(*distributed.all_gather_numbers(clips, stop, self.elapsed()), strict=True)
        self._synced_stop, self._synced_seconds = any(stops), times[0]
        if self._synced_stop:
            distributed.limit_waits(math.inf)  # all have answered: the checkpoint may take its time
        return [int(size) for size in sizes]

    def stopping(self) -> bool:
        """Whether a signal arrived, at any process, so that the run shall stop after this update."""
        return self._signal is not None if distributed.world_size() == 1 else self._synced_stop

    @contextmanager
    def catch_signals(self) -> Iterator[None]:
        """Remember SIGINT, SIGTERM and SIGHUP for `stopping` instead of ending the process; a second SIGINT raises.

        SIGHUP stays ignored if it is, as `nohup` arranges it.
        """
        is_caught = [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
        handlers = {number: signal.signal(number, self._on_signal) for number in is_caught}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # A second Ctrl-C doesn't wait for the step. The others come twice when a whole group of processes gets them.
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is None:
            distributed.limit_waits(PATIENCE)
        self._signal = number
