"""AudioSet's segment files: which seconds of which video, and the classes that sound in them.

    # YTID, start_seconds, end_seconds, positive_labels
    --4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"

Lists come from the network and from other people: nothing in them is trusted to be the name of a file or a number.
"""

import csv
import re
from collections import Counter
from typing import NamedTuple

from utils.errors import UserError

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
MID = re.compile(r"/[a-z]+/[A-Za-z0-9_]{1,40}")  # /m/07y_7, /t/dd00004
SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{0,20})?")  # no video is longer: eleven days


class Segment(NamedTuple):
    """A row of a segment file: YouTube id, start and end in seconds, tuple of AudioSet mids."""

    video: str
    start: float
    end: float
    labels: tuple


def iter_segments(path):
    """The rows of a segment file one by one, as they come: two million are read in little memory.

    Args:
        path: of a csv file in AudioSet's form. A line that begins with # is a comment. A mid that comes twice in a row
            counts once. Times are rounded to the millisecond.

    Yields:
        `Segment`.

    Raises:
        UserError: the file can't be read, has no rows, or a row isn't `ID, start, end, "mid,mid"`; the line is named.
    """
    number, known = None, {}  # the same few classes come again and again: each combination is checked and kept once
    for number, row in _rows(path):
        try:
            yield _segment(row, known)
        except ValueError as error:
            form = f'{path}, line {number} is not `YTID, start, end, "mid,mid"`'
            raise UserError(f"{form}: {error}; mend or remove it") from None
    if number is None:
        raise UserError(f'{path} has no rows: it must hold AudioSet\'s segments, ID, start, end, "mid,mid"')


def read_segments(path):
    """All segments of a file, in its order, as `each_segment` reads them.

    Returns:
        list of `Segment`, each cut once: a row that comes twice is one, and rows of the same seconds of one video
        that differ in their labels are one with the labels of all.
    """
    found = {}
    for segment in iter_segments(path):
        cut = segment[:3]
        found[cut] = tuple(dict.fromkeys(found[cut] + segment.labels)) if cut in found else segment.labels
    return [Segment(*cut, labels) for cut, labels in found.items()]


def write_segments(file, segments, note):
    """Write segments to a text file object, in the form of AudioSet's own files.

    Args:
        note: one line for the head: where they come from.
    """
    labels = Counter(label for segment in segments for label in segment.labels)
    file.write(f"# {printable(note)}\n")
    file.write(
        f"# num_ytids={len({segment.video for segment in segments})}, num_segs={len(segments)}, "
        f"num_unique_labels={len(labels)}, num_positive_labels={labels.total()}\n"
    )
    file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
    for segment in segments:
        file.write(f'{segment.video}, {segment.start:.3f}, {segment.end:.3f}, "{",".join(segment.labels)}"\n')


def clip_ids(segments):
    """The name of each segment's clip: its video's id; `ID_START_END` where several segments are of one video.

    Args:
        segments: as `read_segments` gives them, each cut once.

    Returns:
        list of str, all different, in the order of `segments`.
    """
    cuts = Counter(segment.video for segment in segments)
    return [s.video if cuts[s.video] == 1 else f"{s.video}_{s.start:.3f}_{s.end:.3f}" for s in segments]


def youtube_id(clip):
    """The YouTube id in a clip's name, `ID` or `ID` and anything behind `_`, `-` or `.`; the whole name if it has none.

    Two cuts of one video have the same.
    """
    head, rest = clip[:11], clip[11:]
    return head if YOUTUBE_ID.fullmatch(head) and rest[:1] in ("", "_", "-", ".") else clip


def read_class_labels(path):
    """AudioSet's class_labels_indices.csv: {mid: display name}, in the order of its indices.

    Raises:
        UserError: the file can't be read or has another form; the line is named.
    """
    rows = _rows(path)
    if next(rows, (0, None))[1] != ["index", "mid", "display_name"]:
        raise UserError(f"{path} is not AudioSet's list of classes: its first line must be index,mid,display_name")
    names = {}
    for number, row in rows:
        if len(row) != 3 or not MID.fullmatch(row[1]) or not row[2] or not row[2].isprintable():
            raise UserError(f"{path}, line {number} is not `index,mid,display_name`: download the file again")
        if row[1] in names:
            raise UserError(f"{path}, line {number} names {row[1]} again: download the file again")
        names[row[1]] = row[2]
    return names


def printable(text):
    """A text from a file or the command line as one line that is safe to print and to write: the rest becomes ?."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _rows(path):
    """(line number, cells) of a csv file's lines, without comments and empty lines."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            # A quote in a comment opens no cell, so comments are taken out before csv sees them.
            reader = csv.reader(
                ("\n" if line.lstrip().startswith("#") else line for line in file), skipinitialspace=True
            )
            for row in reader:
                if any(row):
                    yield reader.line_num, [cell.strip(" \t") for cell in row]
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: is it the right file, unpacked?") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror})") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is not csv ({error})") from None


def _segment(row, known):
    """The `Segment` in the cells of a row; a ValueError says what is wrong with them. `known`: {text: labels}."""
    if len(row) != 4:
        raise ValueError(f"it has {len(row)} {'cell' if len(row) == 1 else 'cells'}")
    video, start, end, text = row
    if not YOUTUBE_ID.fullmatch(video):
        raise ValueError(f"{video[:40]!r} is no YouTube id (11 letters, digits, - or _)")
    if not (SECONDS.fullmatch(start) and SECONDS.fullmatch(end)):
        raise ValueError("the times must be seconds, such as 30 or 30.000")
    start, end = round(float(start), 3), round(float(end), 3)
    if not start < end:
        raise ValueError("the start must lie before the end")
    if text not in known:
        labels = [label.strip(" \t") for label in text.split(",")]
        wrong = [label for label in labels if not MID.fullmatch(label)]
        if wrong:
            raise ValueError(f"{wrong[0][:40]!r} is no AudioSet mid such as /m/07y_7")
        known[text] = tuple(dict.fromkeys(labels))
    return Segment(video, start, end, known[text])
