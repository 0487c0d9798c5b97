"""A progress bar for commands that process many items. It needs no torch."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm

# Passes on the items of a stage of some work, such as "separating", and shows how many of them are done.
Progress = Callable[[Any, str], Iterable[Any]]


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


def show_stage(items: Any, stage: str) -> Iterable[Any]:
    """Pass items on and show how many are done, on a terminal only: a `Progress`.

    Args:
        items: of a known number.
        stage: what is done with them, such as "separating".
    """
    return tqdm(items, stage, disable=None)


def pass_on(items: Any, stage: str) -> Iterable[Any]:
    """Pass items on and show nothing: a `Progress`.

    Args:
        items: of any number.
        stage: what is done with them; not shown.
    """
    return items
