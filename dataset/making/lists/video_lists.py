"""Read a list of videos, whatever its format: `dataset.making.lists.list_formats` has the formats.

A format is recognized by what the first rows hold. Lists are read row by row, so two million rows need little memory
beyond what they say, and an error names its line.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.lists.list_formats import (
    FORMAT_NAMES,
    JSON_FORMATS,
    PLAIN,
    PLAIN_FORM,
    PLAIN_TITLE,
    ROW_FORMATS,
    VGGSOUND_SECONDS,
    describe_forms,
    is_header,
    plain_parser,
)
from dataset.making.lists.segments import Segment, clip_ids, iter_rows
from dataset.making.text import count_text, printable
from dataset.reading.annotations import load_json
from utils.errors import UserError
from utils.files import MAX_FILE, regular_size

DELIMITERS = (",", "&", "\t", ";")  # of cells; of those that fit equally well, the first
ROWS_TRIED = 50  # to recognize a format
FORMAT_HELP = f"format of the list: {', '.join(FORMAT_NAMES)}\n[recognized by its content]"
PART_HELP = "train, val or test: take this part of a list that has parts [all]"
Rows = Iterator[tuple[int | str, Segment | str]]  # line or place in the file, and the segment, or why it is none


class VideoList(NamedTuple):
    """A list of videos, or of parts of them.

    Attributes:
        path: of its file.
        format: one of `FORMAT_NAMES`.
        segments: its rows, in their order; the same seconds of a video are one, with the labels of all its rows.
            Those of a whole video go from 0 to infinity.
        left_out: {why a row is no segment: number of rows}.
        repeated: videos of the rows that say nothing which a row before didn't.
        cut_videos: videos with several clips in the list, other parts included.
    """

    path: Path
    format: str
    segments: list[Segment]
    left_out: dict[str, int]
    repeated: tuple[str, ...] = ()
    cut_videos: frozenset[str] = frozenset()

    def clip_ids(self) -> list[str]:
        """Name the clip of each segment: as VGGSound does if the list is VGGSound's, else see `segments.clip_ids`.

        A clip has the same name whether the list is taken whole or by part.
        """
        if self.format not in ("vggsound", "vggss"):
            return clip_ids(self.segments, self.cut_videos)
        return [vggsound_name(segment) for segment in self.segments]

    def only(self, part: str | None) -> "VideoList":
        """Take one part, "train", "val" or "test"; None: all.

        Raises:
            UserError: the list has no parts, or no clip of this one.
        """
        if part is None:
            return self
        segments = [segment for segment in self.segments if segment.part == part]
        taken = f"as it is taken for {format_title(self.format)}"
        if not any(segment.part for segment in self.segments):
            raise UserError(f"{self.path} has no parts, {taken}: leave out --part {part}")
        if not segments:
            raise UserError(f"{self.path} lists no clip of part {part}, {taken}: give another list")
        counts = Counter(segment.video for segment in self.segments)
        cut_videos = frozenset(video for video, count in counts.items() if count > 1)
        return self._replace(segments=segments, cut_videos=cut_videos)

    def describe(self) -> str:
        """Describe what the file was taken for and what it holds, in one line."""
        parts = Counter(segment.part for segment in self.segments)
        counted = ", ".join(f"{part or 'no part'} {count:,}" for part, count in parts.items())
        whole = all(segment.end == inf for segment in self.segments)
        count = count_text(len(self.segments), "whole video" if whole else "clip")
        left_out = "".join(f"; left out: {number:,} x {why}" for why, number in self.left_out.items())
        return f"{self.path}: {format_title(self.format)}, {count}{f' ({counted})' if any(parts) else ''}{left_out}"


def read_list(path: Path | str, format: str | None = None, part: str | None = None) -> VideoList:
    """Read a list of videos.

    Args:
        path: of its file.
        format: one of `FORMAT_NAMES`; None: it is recognized.
        part: "train", "val" or "test", to take this part only; None: all.

    Raises:
        UserError: the file can't be read, has no rows, or fits no format; a row is wrong, which is named with its
            line; a clip is in two parts; or there is no such part.
    """
    path = Path(path)
    name, rows = _open_rows(path, format)
    of_clip: dict[tuple[str, float, float], Segment] = {}
    left_out: Counter[str] = Counter()
    repeated: list[str] = []
    for where, row in rows:
        if isinstance(row, str):
            left_out[row] += 1
            continue
        before = of_clip.setdefault(row[:3], row)
        if before is not row:
            if before.part != row.part:
                place = f"line {where}" if isinstance(where, int) else where
                raise UserError(
                    f"{path}, {place}: a clip of {row.video} is in {before.part or 'no part'} and in "
                    f"{row.part or 'no part'}: remove one of the two"
                )
            of_clip[row[:3]] = joined = before._replace(labels=tuple(dict.fromkeys(before.labels + row.labels)))
            repeated += [row.video] if joined == before else []
    if not of_clip:
        raise UserError(f"{path} lists no clip, as it is taken for {format_title(name)}: give another list")
    return VideoList(path, name, list(of_clip.values()), dict(left_out), tuple(repeated)).only(part)


def format_title(name: str) -> str:
    """Name the format `name` as a user knows it."""
    return PLAIN_TITLE if name == PLAIN else (ROW_FORMATS[name] if name in ROW_FORMATS else JSON_FORMATS[name]).title


def vggsound_name(segment: Segment) -> str:
    """Name the clip of a `segment` as VGGSound does, YTID_000030, where that says all."""
    is_vggsound = segment.start.is_integer() and segment.end == segment.start + VGGSOUND_SECONDS
    if is_vggsound and segment.start < 10**6:
        return f"{segment.video}_{int(segment.start):06d}"
    return segment.video if segment.end == inf else f"{segment.video}_{segment.start:.3f}_{segment.end:.3f}"


def _open_rows(path: Path, name: str | None) -> tuple[str, Rows]:
    """The format of a file, and its rows."""
    if name is not None and name not in FORMAT_NAMES:
        raise UserError(f"--format {name} is not a format of lists: choose one of {', '.join(FORMAT_NAMES)}")
    is_json = _begins_as_json(path)
    if name is not None and is_json != (name in JSON_FORMATS):
        found = "is JSON" if is_json else "is not JSON"
        raise UserError(f"{path} {found}, which --format {name} is not: leave it out, or choose another")
    if is_json:
        content = load_json(path, "a list of videos")
        known = [key for key, one in JSON_FORMATS.items() if one.is_form(content) and name in (None, key)]
        if not known:
            raise UserError(f"{path} fits no known list; known are: {describe_forms([name] if name else JSON_FORMATS)}")
        return known[0], _json_rows(path, known[0], content)
    name, delimiter = _recognize(path, name)
    return name, _csv_rows(path, name, delimiter)


def _begins_as_json(path: Path) -> bool:
    try:
        regular_size(path, MAX_FILE)
        with open(path, encoding="utf-8-sig") as file:
            return file.read(1000).lstrip()[:1] in ("{", "[")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: is it the right file, unpacked?") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): give a list of videos") from None


def _recognize(path: Path, name: str | None) -> tuple[str, str]:
    """The row format that fits most of the first rows of a file, and the delimiter of its cells.

    Args:
        path: of the file.
        name: of the format, if it is known.
    """
    found: dict[tuple[str, str], int] = {}
    wrong = ""
    for delimiter in DELIMITERS:
        rows = [cells for _, cells in itertools.islice(iter_rows(path, delimiter), ROWS_TRIED)]
        if not rows:
            raise UserError(f"{path} has no rows: it must be a list of videos, such as {describe_forms(['audioset'])}")
        fitting, reason = _fitting_rows(rows, delimiter)
        wrong = wrong or reason
        found |= {(key, delimiter): count for key, count in fitting.items() if name in (None, key)}
    best = max(found, key=lambda key: found[key], default=(name or "", ","))
    if name is None and not found.get(best):
        number, cells = next(iter_rows(path))
        shown = printable(",".join(cells))[:60]
        known = f"known are: {describe_forms((*ROW_FORMATS, PLAIN))}; --format NAME says which one it is meant to be"
        raise UserError(f"{path}, line {number} fits no known list: {shown!r}{wrong or f'; {known}'}")
    return best


def _fitting_rows(rows: list[list[str]], delimiter: str) -> tuple[dict[str, int], str]:
    """How many of the first rows fit each format, and why a header is none."""
    own = {name: one for name, one in ROW_FORMATS.items() if (one.delimiter == "&") == (delimiter == "&")}
    fitting = {name: sum(_fits(one.parse, cells) for cells in rows) for name, one in own.items()}
    try:
        parse = plain_parser(rows[0])
    except ValueError as error:
        return fitting, f": as {PLAIN_TITLE}, {error}" if is_header(rows[0]) and len(rows[0]) > 1 else ""
    # A first row of another format can be labelled "video" or "name"; one id alone can be the name of a column.
    if delimiter != "&" and not any(_fits(one.parse, rows[0]) for name, one in own.items() if name != "ids"):
        fitting[PLAIN] = sum(_fits(parse, cells) for cells in rows[1:]) + 2  # it fits no other format so well
    return fitting, ""


def _fits(parse: Callable[[list[str]], Any], cells: list[str]) -> bool:
    try:
        parse(cells)
    except ValueError:
        return False
    return True


def _csv_rows(path: Path, name: str, delimiter: str) -> Rows:
    """Parse the rows of a file of a format."""
    rows = iter_rows(path, delimiter)
    form = PLAIN_FORM
    if name == PLAIN:
        number, cells = next(rows, (1, []))
        try:
            parse: Callable[[list[str]], Segment | str] = plain_parser(cells)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not {form}: {error}; fix it or give another --format") from None
    else:
        _, form, parse, _ = ROW_FORMATS[name]
    for k, (number, cells) in enumerate(rows):
        try:
            yield number, parse(cells)
        except ValueError as error:
            if k == 0 and name != PLAIN and is_header(cells):
                continue
            raise UserError(f"{path}, line {number} is not `{form}`: {error}; fix or remove it") from None


def _json_rows(path: Path, name: str, content: Any) -> Rows:
    """Parse the entries of a JSON file of a format."""
    try:
        yield from JSON_FORMATS[name].parse(content)
    except ValueError as error:
        form = f"{JSON_FORMATS[name].title}, {JSON_FORMATS[name].form}"
        raise UserError(f"{path} is taken for {form}, but {error}: fix or remove it") from None
