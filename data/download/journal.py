"""The results of a download: OUT/.download/journal.jsonl has every one, one per line; the last one of a segment counts.

A segment of a list is one clip, or is cut into several.
"""

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from data.download.failures import FAILURE_KINDS
from data.download.folders import state_folder

# One result: "id" names the segment, "class" is "done" or of `FAILURE_KINDS`, "start" and "end" are seconds of the
# video, "end" None for its end. If the segment was cut, "clips" are its clips, "rest" the seconds that none has.
Event = TypedDict(
    "Event",
    {
        "id": str, "video": str, "start": float, "end": float | None, "class": str, "tries": int, "when": str,
        "message": str, "clips": list[str], "rest": float,
    },
    total=False,
)  # fmt: skip


class Journal:
    """The results of all processes that work on a folder.

    Args:
        out: folder of the split.
        last: events that are known already, of the first `position` bytes.
        position: where to begin to read.

    Attributes:
        last: {segment: its last event}.
        position: up to where it is read, bytes.
    """

    def __init__(self, out: Path, last: Mapping[str, Event] | None = None, position: int = 0) -> None:
        self.path = state_folder(out) / "journal.jsonl"
        self.last: dict[str, Event] = {**(last or {})}
        self.position, self._lock = position, threading.Lock()
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")  # a kill cut the last line: the next one must not be appended to it
        self.refresh()

    def write(self, event: Event) -> None:
        """Append one `event`; a line that a kill cuts is ignored."""
        with open(self.path, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # on network file systems two machines would overwrite each other's lines
            file.write(json.dumps(event).encode() + b"\n")

    def refresh(self) -> None:
        """Read what this and other processes have appended."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self.position)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]  # the rest is being written
            self.position += len(text)
            for line in text.splitlines():
                event = _parse_event(line)
                if event:
                    self.last[event["id"]] = event

    def kind(self, name: str) -> str:
        """Look up the class of the last event of the segment `name`; "done" if it has none."""
        return self.last.get(name, Event()).get("class", "done")


def _parse_event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("id", "class")):
        return None
    clips = event.get("clips", [])
    if not isinstance(clips, list) or not all(isinstance(clip, str) for clip in clips):
        return None
    return Event(**event) if event["class"] in FAILURE_KINDS or event["class"] == "done" else None
