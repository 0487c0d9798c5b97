"""Read and write AudioSet's segment files: which seconds of which video, and the classes of the sounds in them.

    # YTID, start_seconds, end_seconds, positive_labels
    --4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"

Lists are untrusted input: ids and numbers are validated before use.
They are read row by row with the csv module: two million rows need little memory, and an error names its line. pandas
reads and checks a list in 0.6 to 0.8 of the time, but needs memory for all of it and loses the numbers of its lines.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import NamedTuple, TextIO

from dataset.making.text import printable
from utils.errors import UserError
from utils.files import MAX_FILE, regular_size

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
MID = re.compile(r"/[a-z]+/[A-Za-z0-9_]{1,40}")  # /m/07y_7, /t/dd00004
SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{0,20})?")  # at most eleven days


class Segment(NamedTuple):
    """Some seconds of a video, or all of it: a row of a list.

    Attributes:
        video: YouTube id, or what else a list calls its videos.
        start: seconds.
        end: seconds; infinity: up to the end of the video.
        labels: AudioSet mids, or names of classes.
        part: "train", "val" or "test" in lists that say so, else "".
    """

    video: str
    start: float
    end: float
    labels: tuple[str, ...]
    part: str = ""


def iter_segments(path: Path | str) -> Iterator[Segment]:
    """Read the rows of a segment file one by one.

    Args:
        path: csv file in AudioSet's format. A line that begins with # is a comment. A mid that occurs twice in a row
            counts once. Times are rounded to milliseconds.

    Yields:
        One `Segment` for each row.

    Raises:
        UserError: the file can't be read, has no rows, or a row isn't `ID, start, end, "mid,mid"`; the line is named.
    """
    number = None
    for number, cells in iter_rows(path):
        try:
            yield parse_segment(cells)
        except ValueError as error:
            row_format = f'{path}, line {number} is not `YTID, start, end, "mid,mid"`'
            raise UserError(f"{row_format}: {error}; fix or remove it") from None
    if number is None:
        raise UserError(f'{path} has no rows: it must hold AudioSet\'s segments, ID, start, end, "mid,mid"')


def write_segments(file: TextIO, segments: Sequence[Segment], note: str) -> None:
    """Write segments in the format of AudioSet's own files.

    Args:
        file: opened for text.
        segments: rows to write.
        note: where they come from: the first line of the head.
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


def clip_ids(segments: Sequence[Segment], cut_videos: Collection[str] = ()) -> list[str]:
    """Name the clips of segments: by its video's id, or ID_START_END where a video has several segments.

    The names differ if the segments do, as those of a `VideoList`.

    Args:
        segments: of the clips.
        cut_videos: videos that have several segments, also where `segments` has only one of them.
    """
    cuts = Counter(segment.video for segment in segments) + Counter(dict.fromkeys(cut_videos, 1))
    return [s.video if cuts[s.video] == 1 or s.end == inf else f"{s.video}_{s.start:.3f}_{s.end:.3f}" for s in segments]


def youtube_id(clip: str) -> str:
    """Extract the YouTube id from the name of a clip: `ID`, or `ID` and anything after `_`, `-` or `.`.

    The whole name if it has no id. Two cuts of the same video have the same id.
    """
    head, rest = clip[:11], clip[11:]
    return head if YOUTUBE_ID.fullmatch(head) and rest[:1] in ("", "_", "-", ".") else clip


def read_class_labels(path: Path | str) -> dict[str, str]:
    """Read AudioSet's class_labels_indices.csv from `path`: {mid: display name}, in the order of its indices.

    Raises:
        UserError: the file can't be read or has another format; the line is named.
    """
    rows = iter_rows(path)
    if next(rows, (0, None))[1] != ["index", "mid", "display_name"]:
        raise UserError(f"{path} is not AudioSet's list of classes: its first line must be index,mid,display_name")
    names: dict[str, str] = {}
    for number, cells in rows:
        if len(cells) != 3 or not MID.fullmatch(cells[1]) or not cells[2] or not cells[2].isprintable():
            raise UserError(f"{path}, line {number} is not `index,mid,display_name`: download the file again")
        if cells[1] in names:
            raise UserError(f"{path}, line {number} names {cells[1]} again: download the file again")
        names[cells[1]] = cells[2]
    return names


def iter_rows(path: Path | str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Read a csv file row by row.

    Args:
        path: of the file.
        delimiter: between cells.

    Yields:
        (line number, cells) of the lines that are neither empty nor comments, which begin with #.

    Raises:
        UserError: the file can't be read, or is no csv; the line is named.
    """
    try:
        regular_size(path, MAX_FILE)
        with open(path, encoding="utf-8-sig", newline="") as file:
            # A quote in a comment opens no cell, so comments are removed before csv parses the lines.
            reader = csv.reader(
                ("\n" if "#" in line and line.lstrip().startswith("#") else line for line in file),
                skipinitialspace=True,
                delimiter=delimiter,
            )
            for row in reader:
                if any(row):
                    yield reader.line_num, [cell.strip(" \t") for cell in row]
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: is it the right file, unpacked?") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): give a csv file") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is not csv ({error}): fix or remove it") from None


def parse_segment(cells: list[str]) -> Segment:
    """Parse a row of a segment file, its `cells`.

    Raises:
        ValueError: says what is wrong with it.
    """
    if len(cells) != 4:
        raise ValueError(f"it has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}")
    video, start_text, end_text, label_text = cells
    if not YOUTUBE_ID.fullmatch(video):
        raise ValueError(f"{video[:40]!r} is not a YouTube id (11 letters, digits, - or _)")
    if not (SECONDS.fullmatch(start_text) and SECONDS.fullmatch(end_text)):
        raise ValueError("the times must be seconds, such as 30 or 30.000")
    start, end = round(float(start_text), 3), round(float(end_text), 3)
    if not start < end:
        raise ValueError("the start must lie before the end")
    return Segment(video, start, end, _parse_mids(label_text))


@lru_cache(maxsize=65536)  # the same few combinations of classes recur: each is checked and kept once
def _parse_mids(text: str) -> tuple[str, ...]:
    labels = [label.strip(" \t") for label in text.split(",")]
    wrong = [label for label in labels if not MID.fullmatch(label)]
    if wrong:
        raise ValueError(f"{wrong[0][:40]!r} is not an AudioSet mid such as /m/07y_7")
    return tuple(dict.fromkeys(labels))
