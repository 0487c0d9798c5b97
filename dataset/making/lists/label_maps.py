"""Map the labels of other datasets to AudioSet's classes: data/label_maps/*.csv."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dataset.making.lists.segments import MID, iter_rows
from dataset.making.text import printable
from utils.errors import UserError


def read_label_map(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read a label map: a csv file whose header has label and mid; further columns are for people.

    Args:
        path: of the file. A mid may be empty, or several with commas between them.

    Returns:
        {label: its mids, () where it has none}. Labels are in lower case with single spaces.

    Raises:
        UserError: the file can't be read, lacks a column, repeats a label or has a wrong mid; the line is named.
    """
    rows = iter_rows(path)
    _, header = next(rows, (1, []))
    columns = [_plain(cell) for cell in header]
    if columns.count("label") != 1 or columns.count("mid") != 1:
        raise UserError(f"{path} is not a label map: its first line must name the columns label and mid, each once")
    table: dict[str, tuple[str, ...]] = {}
    for number, cells in rows:
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {number} has {len(cells)} cells, but the header has {len(columns)}: put quotes around "
                "a label with commas"
            )
        label, mid = _plain(cells[columns.index("label")]), cells[columns.index("mid")]
        if not label:
            raise UserError(f"{path}, line {number} has no label: fix or remove it")
        if label in table:
            raise UserError(f"{path}, line {number} has the label {printable(label)[:60]!r} again: remove one of both")
        mids = tuple(dict.fromkeys(part.strip() for part in mid.split(","))) if mid else ()
        wrong = [part for part in mids if not MID.fullmatch(part)]
        if wrong:
            raise UserError(
                f"{path}, line {number}: {printable(wrong[0])[:40]!r} is not an AudioSet mid such as /m/07y_7; "
                "fix it, or leave it empty"
            )
        table[label] = mids
    if not table:
        raise UserError(f"{path} has no rows: it must map labels to mids, in the columns label and mid")
    return table


def map_labels(labels: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Replace labels by their mids; a label without one stays as it is.

    Args:
        labels: of a clip, in any case.
        table: of `read_label_map`.

    Returns:
        The mids and labels in their order, each once.
    """
    return tuple(dict.fromkeys(mid for label in labels for mid in table.get(_plain(label)) or (label,)))


def _plain(label: str) -> str:
    """A label in lower case with single spaces, as labels are compared."""
    return " ".join(label.casefold().split())
