"""Write a list of videos: AudioSet's and VGGSound's in their own formats, any other as csv with a header.

`dataset.making.lists.video_lists.read_list` reads back what was written.
"""

import csv
from collections.abc import Iterator, Sequence
from math import inf
from typing import TextIO

from dataset.making.lists.list_formats import parse_name
from dataset.making.lists.segments import Segment, write_segments
from dataset.making.lists.video_lists import vggsound_name

HEADER = ("id", "start", "end", "label", "part")


def write_list(file: TextIO, segments: Sequence[Segment], format: str, note: str) -> None:
    """Write the rows of a list.

    Args:
        file: opened for text.
        segments: rows to write; each label of one becomes a row of its own where the format has one label in a row.
        format: of the list that they come from.
        note: where they come from, for the head of AudioSet's format.
    """
    if format == "audioset":
        write_segments(file, segments, note)
        return
    writer = csv.writer(file, lineterminator="\n")
    if format == "vggsound":
        writer.writerows(row for segment in segments for row in _vggsound_rows(segment))
        return
    writer.writerow(HEADER)
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for segment in segments:
        for row in _plain_rows(segment):
            # A line that begins with # would be a comment.
            (quoting if row[0].startswith("#") else writer).writerow(row)


def _vggsound_rows(segment: Segment) -> Iterator[tuple[str, ...]]:
    """The rows of a segment as VGGSound has them, or, without a part, its older lists."""
    for label in segment.labels:
        if segment.part:
            yield segment.video, f"{segment.start:.3f}".rstrip("0").rstrip("."), label, segment.part
        else:
            yield f"{vggsound_name(segment)}.mp4", label


def _plain_rows(segment: Segment) -> Iterator[tuple[str, ...]]:
    name = segment.video
    if parse_name(name) != (name, 0.0, inf):  # a suffix or times that belong to the id
        name = f"{name}.mp4"
    times = ("", "") if segment.end == inf else (f"{segment.start:.3f}", f"{segment.end:.3f}")
    for label in segment.labels or ("",):
        yield name, *times, label, segment.part
