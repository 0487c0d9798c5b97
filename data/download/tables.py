"""The tables that a download keeps: labels of the clips that exist, and failures.

OUT/vid2genre.json      {clip: labels}
OUT/failures.csv        the failures, for people
"""

import csv
import io
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from data.download.failures import FAILURE_KINDS, one_line
from data.download.folders import list_clips, state_folder
from data.download.journal import Event, Journal
from data.download.plan import DownloadPlan
from dataset.reading.annotations import read_genres
from utils.files import write_json, write_text
from utils.locks import hold_lock

COLUMNS = ("id", "video", "start", "end", "class", "worth_retrying", "tries", "when", "message")


def update_tables(out: Path, plan: DownloadPlan, journal: Journal) -> None:
    """Update vid2genre.json to the clips on disk, and write failures.csv.

    Args:
        out: folder of the split.
        plan: of the list; entries of other clips stay.
        journal: of the folder.

    Raises:
        UserError: vid2genre.json is invalid.
    """
    journal.refresh()
    with hold_lock(state_folder(out) / "lock"):
        for stale in out.glob(".*.tmp"):
            stale.unlink()  # left by a kill: every writer holds the lock
        complete = list_clips(out).complete
        path = out / "vid2genre.json"
        before = read_labels(out)
        labels = {clip: mids for clip, mids in before.items() if not plan.sources_of(clip)}
        labels |= {clip: own for clip in complete if (own := plan.labels_of(clip)) is not None}
        if labels != before or not path.exists():
            write_json(path, dict(sorted(labels.items())))
        done = complete | plan.complete(journal.last, complete)
        write_text(out / "failures.csv", failures_table(journal.last.values(), done))


def read_labels(out: Path) -> dict[str, list[str]]:
    """Read the vid2genre.json in `out`; an empty table if there is none yet.

    Raises:
        UserError: it is invalid.
    """
    path = out / "vid2genre.json"
    return read_genres(path) if path.exists() else {}


def failures_table(events: Iterable[Event], complete: Collection[str]) -> str:
    """Format the failures as csv, one segment per row, sorted by class.

    The csv module writes them: it is faster than pandas, and a run rewrites this table all the time.

    Args:
        events: the last one of each segment.
        complete: names of segments that exist nevertheless.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    failed = [event for event in events if event["class"] != "done" and event["id"] not in complete]
    for event in sorted(failed, key=lambda event: (event["class"], event["id"])):
        is_retried = "yes" if FAILURE_KINDS[event["class"]].is_retried else "no"
        cells = {name: _cell(event.get(name, "")) for name in COLUMNS} | {"worth_retrying": is_retried}
        cells |= {name: _id_cell(event.get(name, "")) for name in ("id", "video")}
        writer.writerow(cells.values())
    return table.getvalue()


def _id_cell(value: object) -> str:
    """Format a name: an id may begin with -, and is no formula."""
    text = one_line(value)
    return text if re.fullmatch(r"[\w.-]+", text) else _cell(text)


def _cell(value: object) -> str:
    """Format a value as one line that no spreadsheet takes for a formula."""
    text = one_line("" if value is None else value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
