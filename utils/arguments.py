"""Argument types for argparse: numbers within limits."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from utils.errors import exit_on_user_error

MOST = 1_000_000  # for numbers without a limit of their own: more is a slip
ENGINES = ("processes", "ray")
WORKERS_PER_CORE, MIN_WORKERS = 16, 64  # more processes only take memory and file descriptors


def at_least(least: float, kind: type[int] | type[float] = int, most: float = MOST) -> Callable[[str], int | float]:
    """Make an argparse type that accepts numbers from `least` up.

    Args:
        least: smallest number accepted.
        kind: int or float.
        most: largest number accepted.
    """

    def read(text: str) -> int | float:
        value = kind(text)
        if not least <= value <= most:
            shown = text if len(text) < 40 else f"{text[:40]}..."
            raise argparse.ArgumentTypeError(f"{shown} is out of range: {least:,} to {most:,}")
        return value

    read.__name__ = kind.__name__
    return read


def answer_help(parse: Callable[[], object]) -> None:
    """Print the help of a script and exit, if --help is among its words: before it imports what takes seconds.

    Args:
        parse: parses the command line of this process.
    """
    if not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
        with exit_on_user_error():
            parse()


def max_workers() -> int:
    """Get the largest number of processes that a command starts on this machine."""
    return max(MIN_WORKERS, WORKERS_PER_CORE * (os.cpu_count() or 1))


def worker_count(text: str) -> int | float:
    """Read a number of processes, `text`: an argparse type."""
    return at_least(1, most=max_workers())(text)


worker_count.__name__ = "int"  # in argparse's messages


def add_worker_options(add: Callable[..., Any]) -> None:
    """Add --workers, --engine and --address, which say where the work is done; `clip_map.read_workers` reads them.

    Args:
        add: a parser's add_argument.
    """
    add("--workers", type=worker_count, metavar="N", help="number of processes [all cores]")
    add_engine_options(add)


def add_engine_options(add: Callable[..., Any]) -> None:
    """Add --engine and --address; `clip_map.read_engine` reads them.

    Args:
        add: a parser's add_argument.
    """
    engine = "processes of this machine, or of all machines of a Ray cluster\n(see docs/clusters.md) [processes]"
    add("--engine", choices=ENGINES, default="processes", help=engine)
    add_address_option(add)


def add_address_option(add: Callable[..., Any]) -> None:
    """Add --address by `add`, a parser's add_argument."""
    address = "head of the Ray cluster [auto: of the one that this machine is part of]"
    add("--address", metavar="HOST:PORT", help=address)
