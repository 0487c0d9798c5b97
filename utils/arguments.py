"""Argument types for argparse."""

import argparse
from collections.abc import Callable


def at_least(least: float, kind: type[int] | type[float] = int) -> Callable[[str], int | float]:
    """Make an argparse type that accepts finite numbers from `least` up.

    Args:
        least: smallest number accepted.
        kind: int or float.
    """

    def read(text: str) -> int | float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is out of range: at least {least}")
        return value

    read.__name__ = kind.__name__
    return read
