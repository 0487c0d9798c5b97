"""The progress bar of a training in a terminal: time left, clips per second, loss and accuracy."""

import sys
import time

from tqdm import tqdm

from configs.schema import Train
from utils import distributed


class ProgressBar:
    """Progress bar of process 0; shown in a terminal only.

    Args:
        train: train.max_minutes limits the run if it is set, else train.epochs does.
        steps_per_epoch: updates in an epoch.
        position: where the run begins, seconds or steps, see `utils.clock.RunClock.position`.
    """

    def __init__(self, train: Train, steps_per_epoch: int, position: float) -> None:
        by_clock = bool(train.max_minutes)
        total = train.max_minutes * 60 if by_clock else train.epochs * steps_per_epoch
        self._recent: list[tuple[float, int]] = []  # (time, clips) of the last updates
        self._total = total
        self._bar = tqdm(
            total=total, initial=min(position, total), mininterval=0.5,
            disable=not sys.stderr.isatty() or distributed.rank() > 0,
            bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}" if not by_clock else
            "{l_bar}{bar}| {n:.0f}/{total:.0f} s {postfix}", dynamic_ncols=True,
        )  # fmt: skip

    def move(self, position: float, clips: int) -> None:
        """Move the bar after an update.

        Args:
            position: seconds or steps.
            clips: in the update.
        """
        bar = self._bar
        if not bar.disable:
            bar.update(max(min(position, self._total) - bar.n, 0))
        self._recent = [*self._recent[-49:], (time.monotonic(), clips)]
        if len(self._recent) > 1:
            seconds = self._recent[-1][0] - self._recent[0][0]
            speed = sum(clips for _, clips in self._recent[1:]) / seconds
            bar.set_description_str(f"{speed:.0f} clips/s", refresh=False)

    def show(self, means: dict[str, float]) -> None:
        """Show the loss, the accuracy and the share of waiting, of overflows if any, of the mean metrics `means`."""
        texts = [f"{name} {means[name]:.3f}" for name in ("loss", "accuracy") if name in means]
        texts += [f"waiting {means['waiting']:.0%}"] if "waiting" in means else []
        texts += [f"overflows {means['overflows']:.1%}"] if means.get("overflows") else []
        self._bar.set_postfix_str(" ".join(texts), refresh=False)

    def close(self) -> None:
        """Close the bar and leave it visible."""
        self._bar.close()
