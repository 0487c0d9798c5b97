"""Argument types for argparse that several scripts share."""

import argparse
from collections.abc import Callable
from math import inf


def at_least(minimum: float, kind: type[int] | type[float] = int, maximum: float = inf) -> Callable[[str], float]:
    """Make an argparse type that accepts finite numbers from `minimum` to `maximum`, both included.

    Args:
        minimum: smallest number accepted.
        kind: `int` or `float`, the type of the parsed number.
        maximum: largest number accepted.

    Returns:
        Function for the `type` of `add_argument`, which parses the text of an option.
    """

    def parse(text: str) -> float:
        value = kind(text)
        if not minimum <= value <= maximum or value == inf:
            limits = f"at least {minimum}" if maximum == inf else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: must be {limits}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in "invalid int value"
    return parse
