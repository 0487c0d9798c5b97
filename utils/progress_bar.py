"""A progress bar for commands that process many items. It needs no torch."""

import sys
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
