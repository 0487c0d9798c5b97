"""Keep the page of a run up to date while it trains: it never stops the training, and takes little of its time."""

import time
from collections.abc import Callable

LEAST_SECONDS = 60.0  # between two pages, but for validations
LEAST_RATIO = 100  # of the time between two pages to the time that one takes: a hundredth of the training


class LiveReport:
    """Writes a page again and again.

    Args:
        write: writes the page; may raise anything.
        warn: called once with the reason why it can't be written.
    """

    def __init__(self, write: Callable[[], object], warn: Callable[[str], object]) -> None:
        self._write, self._warn = write, warn
        self._due, self._failed = 0.0, False

    def update(self, now: bool = False) -> None:
        """Write the page if it is due, or `now`; a page that can't be written is skipped."""
        begin = time.monotonic()
        if begin < self._due and not now:
            return
        try:
            self._write()
        except Exception as error:  # whatever is wrong with a page, the net is worth more
            if not self._failed:
                self._failed = True
                self._warn(f"{type(error).__name__}: {error}")
        end = time.monotonic()
        self._due = end + max(LEAST_SECONDS, LEAST_RATIO * (end - begin))
