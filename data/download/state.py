"""What a download leaves on disk: claims, the journal, the labels and the table of failures.

    OUT/.download/journal.jsonl     every result, a line each; the last one of a clip counts
                 /locks/ID          a clip that somebody works on
                 /work/PROCESS/ID/  what is not yet whole; `alive` in it is locked for as long as its process lives
    OUT/failures.csv                from the journal, for people
    OUT/vid2genre.json

Locks are the kernel's (flock), which lets go of them however a process ends; nothing relies on process ids.
"""

import csv
import fcntl
import io
import json
import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from data.download.failures import KINDS, plain
from dataset.reading.annotations import read_genres
from utils.files import write_json, write_text

COLUMNS = ("id", "video", "start", "end", "class", "worth_retrying", "tries", "when", "message")


def home_of(out):
    """The folder of our own files in a split's folder."""
    return Path(out) / ".download"


def files_of(out, clip):
    """(mp4, wav) of a clip."""
    return Path(out) / "video" / f"{clip}.mp4", Path(out) / "audio" / f"{clip}.wav"


def is_there(out, clip):
    """Whether a clip is there, both halves."""
    return all(file.exists() for file in files_of(out, clip))


def clips_there(out):
    """(ids that have both halves, ids that have a wav alone), sets; from two listings, whatever their size."""
    video, audio = (
        {name.removesuffix(suffix) for name in os.listdir(Path(out) / kind) if name.endswith(suffix)}
        for kind, suffix in (("video", ".mp4"), ("audio", ".wav"))
    )
    return video & audio, audio - video


@contextmanager
def locked(path):
    """Hold a lock among processes and threads, waiting for it."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(out, clip):
    """Claim a clip: yields True, or False at once where another process has it."""
    path = home_of(out) / "locks" / clip
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            yield False
            return
        # Whoever had it may have removed the name between our two calls: then this lock keeps nobody out.
        if _inode(path) == os.fstat(file).st_ino:
            break
        os.close(file)
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _inode(path):
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


@contextmanager
def work_folder(out):
    """Make the folders, remove what dead processes left, and yield an empty folder for this process's own."""
    home = home_of(out)
    for folder in (home / "locks", home / "work", Path(out) / "video", Path(out) / "audio"):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(home / "lock"):  # from here to the lock on `alive` nobody may take our folder for a dead one's
        for left in (home / "work").iterdir():
            if not _is_alive(left / "alive"):
                shutil.rmtree(left, ignore_errors=True)
        there = clips_there(out)[0]  # only of these: nobody may find a clip that is still to be had claimed by us
        for left in (home / "locks").iterdir():
            if left.name in there:
                with claimed(out, left.name):
                    pass  # which removes the name, unless somebody holds it
        own = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=home / "work"))
        alive = os.open(own / "alive", os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(alive)


def _is_alive(path):
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # killed before it had its lock
    return False


def remove_halves(out, clips):
    """Remove the wavs that a kill between the two renames left without their mp4, where nobody works on the clip."""
    for clip in sorted(clips_there(out)[1] & set(clips)):
        with claimed(out, clip) as mine:
            mp4, wav = files_of(out, clip)
            if mine and not mp4.exists():
                wav.unlink(missing_ok=True)


class Journal:
    """Results as they come, of all processes that work on a folder.

    Attributes:
        last: {id: its last event, a dict with "id", "start", "end", "class" and more}; "class" is "done" or of `KINDS`.
    """

    def __init__(self, out):
        self.path = home_of(out) / "journal.jsonl"
        self.last, self._read, self._lock = {}, 0, threading.Lock()
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")  # a kill cut the last line off: the next one must not be glued to it
        self.refresh()

    def write(self, event):
        """Append one event; a line is there whole or, after a kill, is ignored."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")

    def refresh(self):
        """Take in what this and other processes have appended."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self._read)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]  # what lies behind is being written
            self._read += len(text)
            for line in text.splitlines():
                event = _event(line)
                if event:
                    self.last[event["id"]] = event


def _event(line):
    """An event from a line of the journal; None where it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("id", "class")):
        return None
    return event if event["class"] in KINDS or event["class"] == "done" else None


def keep_in_step(out, rows, journal):
    """Bring vid2genre.json in step with the clips on disk, and write failures.csv.

    Args:
        rows: {id: Segment} of the list at hand; entries of other clips stay as they are.

    Raises:
        UserError: vid2genre.json is not of our form.
    """
    journal.refresh()
    with locked(home_of(out) / "lock"):
        for left in Path(out).glob(".*.tmp"):
            left.unlink()  # of a kill: whoever writes holds the lock
        there = clips_there(out)[0]
        path = Path(out) / "vid2genre.json"
        before = labels_of(out)
        genres = {clip: mids for clip, mids in before.items() if clip not in rows}
        genres |= {clip: list(segment.labels) for clip, segment in rows.items() if clip in there}
        if genres != before or not path.exists():
            write_json(path, dict(sorted(genres.items())))
        write_text(Path(out) / "failures.csv", failures_table(journal.last.values(), there))


def labels_of(out):
    """The split's vid2genre.json, or an empty table where there is none yet.

    Raises:
        UserError: it is not of our form.
    """
    path = Path(out) / "vid2genre.json"
    return read_genres(path) if path.exists() else {}


def failures_table(events, there):
    """The failures as csv text, one clip a row, sorted by class.

    Args:
        there: ids of clips that are there all the same.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    failed = [event for event in events if event["class"] != "done" and event["id"] not in there]
    for event in sorted(failed, key=lambda event: (event["class"], event["id"])):
        again = "yes" if KINDS[event["class"]].again else "no"
        cells = {name: _cell(event.get(name, "")) for name in COLUMNS} | {"id": plain(event["id"])}
        cells |= {"worth_retrying": again, "video": plain(event.get("video", ""))}
        writer.writerow(cells.values())
    return table.getvalue()


def _cell(value):
    """A cell that is one line and that no spreadsheet takes for a formula."""
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
