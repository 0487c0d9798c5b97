"""Argument types for argparse."""

import argparse
from collections.abc import Callable
from math import inf


def at_least(least: float, kind: type[int] | type[float] = int, most: float = inf) -> Callable[[str], int | float]:
    """Make an argparse type that accepts finite numbers from `least` up.

    Args:
        least: smallest number accepted.
        kind: int or float.
        most: largest number accepted.
    """

    def read(text: str) -> int | float:
        value = kind(text)
        if not least <= value <= most or value == inf:
            limits = f"at least {least}" if most == inf else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: {limits}")
        return value

    read.__name__ = kind.__name__
    return read
