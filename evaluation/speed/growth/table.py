"""Measure how costs grow with the size of the work: each part on made-up data of 1, 10 and 100 times a size.

    python -m evaluation.speed.growth                    # or: python benchmark.py --growth
    python -m evaluation.speed.growth retrieval check    # some rows of the table

Each measurement runs in a process of its own, on one thread. The exponent is that of the last step: 1 where ten times
the work takes ten times as long.
"""

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
from typing import NamedTuple

FACTORS = (1, 10, 100)
MOST_EXPONENT = 1.1
# Costs by the ends of their names, and what is noise: below it there is no exponent.
NOISE = {"seconds": 0.05, "ms": 20.0, "mb": 20.0, "megabytes": 20.0, "megabytes_of_clips": 20.0}


class Row(NamedTuple):
    """A row of the table; module `evaluation.speed.growth.NAME` has `measure`.

    Attributes:
        title: what is done.
        unit: what the size counts.
        size: of which 1, 10 and 100 times are measured.
    """

    title: str
    unit: str
    size: int


ROWS = {
    "localization": Row("localization by boxes, 224 px", "frames", 50),
    "retrieval": Row("retrieval, all directions", "clips", 1_000),
    "embed": Row("embed.py, beside the net", "rows", 10_000),
    "search": Row("search.py, a query", "rows", 10_000),
    "shards": Row("opening shards and reading clips", "clips", 1_000),
    "loader": Row("a loader worker's ids and labels", "clips", 10_000),
    "check": Row("check_data, beside reading clips", "clips", 1_000),
    "compare": Row("--compare, a run's log", "lines", 2_000),
}


def measure_row(name: str) -> list[dict[str, float]]:
    """Measure one row at all sizes, each in a process of its own.

    Args:
        name: of the row.

    Raises:
        RuntimeError: a process failed.
    """
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    results = []
    for factor in FACTORS:
        words = [sys.executable, "-m", "evaluation.speed.growth", "--child", name, str(factor * ROWS[name].size)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=os.environ | one_thread, check=False)
        if done.returncode:
            raise RuntimeError(f"measuring {name} at {factor} times its size ended with exit code {done.returncode}")
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return results


def exponent(values: list[float], least: float) -> float | None:
    """Compute the power of the size with which a cost grows in the last step; None where both are noise.

    Args:
        values: the cost at all sizes.
        least: what is measured below it is taken for it.
    """
    before, after = (max(value, least) for value in values[-2:])
    return math.log10(after / before) if after > least else None


def table_lines(name: str, results: list[dict[str, float]]) -> list[str]:
    """Format one row of the table: a line for each value.

    Args:
        name: of the row.
        results: at all sizes.
    """
    lines: list[str] = []
    for key in results[0]:
        values = [result[key] for result in results]
        least = next((least for end, least in NOISE.items() if key.endswith(end)), None)
        power = None if least is None else exponent(values, least)
        shown = "" if power is None else f"{power:.2f}" + (" above!" if power > MOST_EXPONENT else "")
        title = f"{ROWS[name].title} ({ROWS[name].size:,} {ROWS[name].unit})" if not lines else ""
        lines.append(f"{title:46} {key:20} " + " ".join(f"{value:9.4g}" for value in values) + f"  {shown}".rstrip())
    return lines


def print_growth(names: list[str]) -> bool:
    """Measure rows and print the table; return whether no exponent is above MOST_EXPONENT.

    Args:
        names: of the rows; none: all.
    """
    head = " ".join(f"{f'x {factor}':>9}" for factor in FACTORS)
    print(f"{'work (size)':46} {'cost':20} {head}  exponent", flush=True)
    is_good = True
    for name in names or ROWS:
        for line in table_lines(name, measure_row(name)):
            is_good &= not line.endswith("above!")
            print(line, flush=True)
    return is_good


def main() -> None:
    """Parse the command line; print the table, or be the process of one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows of the table: {', '.join(ROWS)} [all]")
    parser.add_argument("--child", nargs=2, metavar=("ROW", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, size = args.child
        print(json.dumps(importlib.import_module(f"evaluation.speed.growth.{name}").measure(int(size))))
    elif unknown := [name for name in args.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}: choose from {', '.join(ROWS)}")
    else:
        sys.exit(0 if print_growth(args.rows) else 1)


if __name__ == "__main__":
    main()
