"""The bar that a training shows in a terminal: how far it is, how long it takes, how fast it is, how well it goes."""

import sys
import time
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, unit: str = "clip", log_interval: float = 20.0, **options: Any) -> tqdm:
    """Create a tqdm progress bar that suits a terminal as well as a log file.

    Args:
        total: number of items.
        unit: what an item is called.
        log_interval: seconds between updates where stderr is not a terminal: there each update is another line.
        options: further arguments of tqdm.

    Returns:
        The bar, a context manager; call its `update()` after each item.
    """
    return tqdm(total=total, unit=unit, mininterval=0.1 if sys.stderr.isatty() else log_interval, **options)


class ProgressBar:
    """Of process 0, and only in a terminal.

    Args:
        train: a `configs.schema.Train`: the run goes by its minutes if it has any, else by its epochs.
        steps_per_epoch: updates in an epoch.
        now: where the run begins, seconds or steps.
    """

    def __init__(self, train, steps_per_epoch, now):
        from utils import distributed  # imports torch, which commands that only need `progress_bar` don't load

        by_clock = bool(train.max_minutes)
        total = train.max_minutes * 60 if by_clock else train.epochs * steps_per_epoch
        self._recent = []  # (time, clips) of the last updates
        self._bar = tqdm(
            total=total, initial=min(now, total), mininterval=0.5,
            disable=not sys.stderr.isatty() or distributed.rank() > 0,
            bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}" if not by_clock else
            "{l_bar}{bar}| {n:.0f}/{total:.0f} s {postfix}", dynamic_ncols=True,
        )  # fmt: skip

    def move(self, now, clips):
        """An update of `clips` clips was done; the run is at `now`, seconds or steps."""
        bar = self._bar
        bar.update(max(min(now, bar.total) - bar.n, 0) if not bar.disable else 0)
        self._recent = [*self._recent[-49:], (time.monotonic(), clips)]
        if len(self._recent) > 1:
            passed = self._recent[-1][0] - self._recent[0][0]
            bar.set_description_str(f"{sum(c for _, c in self._recent[1:]) / passed:.0f} clips/s", refresh=False)

    def show(self, means):
        """Show the loss and, where the step measures it, the accuracy: dict of floats."""
        shown = [f"{name} {means[name]:.3f}" for name in ("loss", "accuracy") if name in means]
        self._bar.set_postfix_str(" ".join(shown), refresh=False)

    def close(self):
        """Leave the bar as it is."""
        self._bar.close()
