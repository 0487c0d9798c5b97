"""The results of a download: a journal of all processes, and the tables that are made from it.

OUT/.download/journal.jsonl     every result, one per line; the last one of a clip counts
OUT/failures.csv                the failures, for people
OUT/vid2genre.json              labels of the clips that exist
"""

import csv
import io
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from data.download.failures import FAILURE_KINDS, one_line
from data.download.folders import hold_lock, list_clips, state_folder
from dataset.making.segments import Segment
from dataset.reading.annotations import read_genres
from utils.files import write_json, write_text

COLUMNS = ("id", "video", "start", "end", "class", "worth_retrying", "tries", "when", "message")

# One result: "class" is "done" or of `FAILURE_KINDS`, "start" and "end" are seconds of the video.
Event = TypedDict(
    "Event",
    {"id": str, "video": str, "start": float, "end": float, "class": str, "tries": int, "when": str, "message": str},
    total=False,
)


class Journal:
    """The results of all processes that work on a folder.

    Args:
        out: folder of the split.

    Attributes:
        last: {clip: its last event}.
    """

    def __init__(self, out: Path) -> None:
        self.path = state_folder(out) / "journal.jsonl"
        self.last: dict[str, Event] = {}
        self._position, self._lock = 0, threading.Lock()
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")  # a kill cut the last line: the next one must not be appended to it
        self.refresh()

    def write(self, event: Event) -> None:
        """Append one `event`; a line that a kill cuts is ignored."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")

    def refresh(self) -> None:
        """Read what this and other processes have appended."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self._position)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]  # the rest is being written
            self._position += len(text)
            for line in text.splitlines():
                event = _parse_event(line)
                if event:
                    self.last[event["id"]] = event

    def kind(self, clip: str) -> str:
        """Look up the class of the last event of `clip`; "done" if it has none."""
        return self.last.get(clip, Event()).get("class", "done")


def _parse_event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("id", "class")):
        return None
    return Event(**event) if event["class"] in FAILURE_KINDS or event["class"] == "done" else None


def update_tables(out: Path, segments: Mapping[str, Segment], journal: Journal) -> None:
    """Update vid2genre.json to the clips on disk, and write failures.csv.

    Args:
        out: folder of the split.
        segments: {clip: its segment} of the list; entries of other clips stay.
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
        labels = {clip: mids for clip, mids in before.items() if clip not in segments}
        labels |= {clip: list(segment.labels) for clip, segment in segments.items() if clip in complete}
        if labels != before or not path.exists():
            write_json(path, dict(sorted(labels.items())))
        write_text(out / "failures.csv", failures_table(journal.last.values(), complete))


def read_labels(out: Path) -> dict[str, list[str]]:
    """Read the vid2genre.json in `out`; an empty table if there is none yet.

    Raises:
        UserError: it is invalid.
    """
    path = out / "vid2genre.json"
    return read_genres(path) if path.exists() else {}


def failures_table(events: Iterable[Event], complete: set[str]) -> str:
    """Format the failures as csv, one clip per row, sorted by class.

    The csv module writes them: it is faster than pandas, and a run rewrites this table all the time.

    Args:
        events: the last one of each clip.
        complete: ids of clips that exist nevertheless.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    failed = [event for event in events if event["class"] != "done" and event["id"] not in complete]
    for event in sorted(failed, key=lambda event: (event["class"], event["id"])):
        is_retried = "yes" if FAILURE_KINDS[event["class"]].is_retried else "no"
        cells = {name: _cell(event.get(name, "")) for name in COLUMNS} | {"id": one_line(event["id"])}
        cells |= {"worth_retrying": is_retried, "video": one_line(event.get("video", ""))}
        writer.writerow(cells.values())
    return table.getvalue()


def _cell(value: object) -> str:
    """Format a value as one line that no spreadsheet takes for a formula."""
    text = one_line(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
