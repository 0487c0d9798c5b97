"""left_out.csv: what a command left out, and why. Every command that leaves files or clips out writes one."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dataset.making.text import escape_surrogates
from utils.files import write_text

FILE_NAME = "left_out.csv"


class LeftOut(NamedTuple):
    """A row of left_out.csv.

    Attributes:
        id: of the clip; "" for a file that is none.
        file: its path.
        kind: of the reason, for programs: a `dataset.reading.errors.MediaErrorKind`, or another word of the command.
        reason: for people.
    """

    id: str
    file: str
    kind: str
    reason: str


def write_left_out(path: Path, rows: Iterable[LeftOut]) -> None:
    """Write left_out.csv atomically; without rows it has a first line only, so that no older list remains.

    Args:
        path: of the csv file, UTF-8, with the columns id, file, kind, reason.
        rows: in any order; they are sorted.

    Raises:
        OSError: it can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)  # its CRLF line ends make it quote names with a carriage return
    writer.writerow(LeftOut._fields)
    writer.writerows(map(escape_surrogates, row) for row in sorted(set(rows), key=lambda row: (row.file, row)))
    write_text(path, text.getvalue())


def describe_left_out(rows: Iterable[LeftOut], path: Path) -> str:
    """Count what was left out by kind, for people: "5 left out: 3 damaged, 2 silent (listed in OUT/left_out.csv)".

    Args:
        rows: as of `write_left_out`.
        path: of the csv file.
    """
    counts = Counter(row.kind for row in set(rows))
    if not counts:
        return "0 left out"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return f"{counts.total()} left out: {kinds} (listed in {path})"
