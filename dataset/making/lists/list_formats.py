"""The lists of videos that people have: one function for each format, and one table of them.

A function takes the cells of a row, or the content of a JSON file, and gives `Segment`s. Ids and numbers are validated
before use: lists are untrusted input.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from dataset.making.lists.segments import MID, SECONDS, YOUTUBE_ID, Segment, parse_segment
from dataset.making.text import printable
from dataset.reading.annotations import is_number, is_printable_text, is_valid_id
from dataset.reading.names import normalize_name
from dataset.reading.suffixes import media_kind

VGGSOUND_SECONDS = 10.0  # length of every clip of VGGSound
SOLOS_RATE = 25  # frames per second in which Solos counts its time stamps
PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test", "eval": "test",
}  # fmt: skip
CLIP_NAME = re.compile(rf"({YOUTUBE_ID.pattern})(?:_([0-9]{{6}})|_({SECONDS.pattern})_({SECONDS.pattern}))")
NO_ID = re.compile(r"[\s&,;|\"'<>{}]")  # what tells a line of another list, or of no list, from an id
# The columns of a plain csv file, by the names that people give them.
COLUMNS = {
    "id": ("id", "video_id", "videoid", "video", "youtube_id", "ytid", "yt_id", "file", "filename", "name"),
    "start": ("start", "start_seconds", "start_time", "start_s", "starttime", "begin"),
    "end": ("end", "end_seconds", "end_time", "end_s", "endtime", "stop"),
    "label": ("label", "labels", "class", "category", "positive_labels", "genre"),
    "part": ("part", "split", "subset", "set"),
}
JsonRow = tuple[str, Segment | str]  # where in the file, and the segment, or why the entry is none


class RowFormat(NamedTuple):
    """A format of which each line is a row.

    Attributes:
        title: the dataset, or what the lines hold.
        form: what a line looks like, for messages and docs.
        parse: makes a `Segment` of the cells of a row, or says why the row is none; a ValueError says what is wrong.
        delimiter: between cells.
    """

    title: str
    form: str
    parse: Callable[[list[str]], Segment | str]
    delimiter: str = ","


class JsonFormat(NamedTuple):
    """A format that is one JSON value.

    Attributes:
        title: the dataset.
        form: what the file looks like, for messages and docs.
        is_form: tells by the outermost form whether a value can be such a list.
        parse: yields the entries; a ValueError says what is wrong.
    """

    title: str
    form: str
    is_form: Callable[[Any], bool]
    parse: Callable[[Any], Iterator[JsonRow]]


# --------------------------------------------------------------------------------------------------------- rows


def parse_audioset(cells: list[str]) -> Segment:
    """Parse a row of AudioSet's segment files, its `cells`."""
    return parse_segment(cells)


def parse_vggsound(cells: list[str]) -> Segment:
    """Parse a row of VGGSound's csv, its `cells`: all clips last 10 s. Also of its older lists, NAME.mp4,label."""
    if len(cells) == 2:
        video, start, end = parse_name(cells[0])
        if end == inf:
            raise ValueError(f"{_quote(cells[0])} is no name of a VGGSound clip, such as ---g-f_I2yQ_000001.mp4")
        return Segment(video, start, end, _label(cells[1]))
    if len(cells) not in (3, 4):
        raise ValueError(_count(cells))
    video, start_text, label, *part = cells
    start = _seconds(start_text)
    end = round(start + VGGSOUND_SECONDS, 3)
    return Segment(_youtube_id(video), start, end, _label(label), _part(part[0]) if part else "")


def parse_ave(cells: list[str]) -> Segment | str:
    """Parse a row of AVE's lists, its `cells`. The times are of an event within AVE's own clip of 10 s."""
    if len(cells) != 5:
        raise ValueError(_count(cells))
    label, video, _, start_text, end_text = cells
    start, end = _seconds(start_text), _seconds(end_text)
    if start == end:
        return "an event of no length"
    return Segment(_youtube_id(video), *_times(start, end), _label(label))


def parse_id(cells: list[str]) -> Segment:
    """Parse a line with one id or name of a clip, its `cells`: YTID, YTID_000030, YTID_30_40, or any other id."""
    if len(cells) != 1:
        raise ValueError(_count(cells))
    if NO_ID.search(cells[0]):
        raise ValueError(f"{_quote(cells[0])} is no id: it holds a space, a quote or a delimiter")
    return Segment(*parse_name(cells[0]), ())


def plain_parser(header: list[str]) -> Callable[[list[str]], Segment]:
    """Make the function that parses the rows of a plain csv file.

    Args:
        header: its first line, with a column for the id and any of those of `COLUMNS`.

    Raises:
        ValueError: there is no column for the id, a column is there twice, or only one of the times is there.
    """
    names = [_column_name(cell) for cell in header]
    column: dict[str, int] = {}
    for key, known in COLUMNS.items():
        found = [k for k, name in enumerate(names) if name in known]
        if len(found) > 1:
            both = " and ".join(_quote(header[k]) for k in found[:2])
            raise ValueError(f"its columns {both} are both the {key}")
        if found:
            column[key] = found[0]
    if "id" not in column:
        raise ValueError("it names no column id")
    if ("start" in column) != ("end" in column):
        raise ValueError("it names only one of the columns start and end")

    def parse(cells: list[str]) -> Segment:
        if len(cells) != len(header):
            raise ValueError(f"it has {len(cells)} of {len(header)} cells")
        video, start, end = parse_name(cells[column["id"]])
        if "start" in column and (cells[column["start"]] or cells[column["end"]]):
            start, end = _times(_seconds(cells[column["start"]]), _seconds(cells[column["end"]]))
        text = cells[column["label"]] if "label" in column else ""
        part = cells[column["part"]] if "part" in column else ""
        return Segment(video, start, end, _labels(text), _part(part) if part else "")

    return parse


def is_header(cells: list[str]) -> bool:
    """Tell whether the `cells` of a first line are names of columns."""
    known = {name for names in COLUMNS.values() for name in names} | {"quality"}
    return sum(_column_name(cell) in known for cell in cells) > len(cells) / 2


def parse_name(text: str) -> tuple[str, float, float]:
    """Parse the name of a clip, `text`, as (video, start, end), seconds: 0 and infinity are all of a video.

    YTID_000030 is VGGSound's name of the 10 s from 30 s on; folders before the name and a suffix of media are dropped.

    Raises:
        ValueError: it can't be a file's name.
    """
    name = PurePosixPath(text).name
    if media_kind(PurePosixPath(name)):
        name = name[: name.rindex(".")]
    if not is_valid_id(name) or name != name.strip():
        raise ValueError(f"{_quote(text)} is no id: it must be a name without spaces at its ends and without /")
    match = CLIP_NAME.fullmatch(name)
    if match is None:
        return normalize_name(name), 0.0, inf
    if match[2]:
        return match[1], float(match[2]), float(match[2]) + VGGSOUND_SECONDS
    return match[1], *_times(float(match[3]), float(match[5]))


# --------------------------------------------------------------------------------------------------------- JSON


def parse_music(content: Any) -> Iterator[JsonRow]:
    """Parse the `content` of a list of MUSIC or MUSIC-21: whole videos; a duet has the classes of both players."""
    for name, videos in content["videos"].items():
        if not isinstance(videos, list):
            raise ValueError(f"{_quote(name)} holds no list of ids")
        for k, video in enumerate(videos):
            labels = _label(name)[0].split()
            yield (
                f"entry {k + 1} of {_quote(name)}",
                Segment(_youtube_id(video), 0.0, inf, tuple(dict.fromkeys(labels))),
            )


def parse_solos(content: Any) -> Iterator[JsonRow]:
    """Parse the `content` of a list of Solos: whole videos, or parts of them in frames, of which 25 are a second."""
    for name, videos in content.items():
        for k, video in enumerate(videos):
            where = f"entry {k + 1} of {_quote(name)}"
            spans = videos[video] if isinstance(videos, dict) else [None]
            if not isinstance(spans, list):
                raise ValueError(f"{where} holds no list of time stamps")
            if not spans:
                yield where, "a video without time stamps"
            for span in spans:
                times = (0.0, inf)
                if span is not None:
                    if not isinstance(span, list) or len(span) != 2 or not all(map(is_number, span)) or min(span) < 0:
                        raise ValueError(f"{where} has a time stamp that is not [first frame, last frame]")
                    times = _times(span[0] / SOLOS_RATE, span[1] / SOLOS_RATE)
                yield where, Segment(_youtube_id(video), *times, _label(name))


def parse_cav_mae(content: Any) -> Iterator[JsonRow]:
    """Parse the `content` of a list of CAV-MAE or EquiAV; the id is video_id, or the name of the video or the wav."""
    for k, entry in enumerate(content["data"]):
        where = f"entry {k + 1}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is no table")
        name = next((entry[key] for key in ("video_id", "wav", "video_path") if entry.get(key)), None)
        if not isinstance(name, str):
            raise ValueError(f"{where} has no video_id")
        labels = entry.get("labels", "")
        text = ",".join(labels) if isinstance(labels, list) and all(isinstance(one, str) for one in labels) else labels
        if not isinstance(text, str):
            raise ValueError(f"{where} has labels that are no text")
        yield where, Segment(*parse_name(name), _labels(text))


def parse_vggss(content: Any) -> Iterator[JsonRow]:
    """Parse the `content` of VGG-SS's annotations: clips of VGGSound's test part."""
    for k, entry in enumerate(content):
        where = f"entry {k + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise ValueError(f"{where} has no file")
        label = entry.get("class", "")
        if not isinstance(label, str):
            raise ValueError(f"{where} has a class that is no text")
        yield where, Segment(*parse_name(entry["file"]), _labels(label), "test")


def _is_solos(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and not {"videos", "data"} & content.keys()
        and not all(key.lower() in PARTS for key in content)  # ids by their part, which are no instruments
        and all(isinstance(videos, (list, dict)) for videos in content.values())
    )


# The table: what is tried, in this order; of several that fit a file equally well, the first.
ROW_FORMATS: dict[str, RowFormat] = {
    "audioset": RowFormat("AudioSet", 'YTID, start, end, "mid,mid"', parse_audioset),
    "vggsound": RowFormat("VGGSound", "YTID,start,label,train|test or YTID_000030.mp4,label", parse_vggsound),
    "ave": RowFormat("AVE", "Category&VideoID&Quality&StartTime&EndTime", parse_ave, "&"),
    "ids": RowFormat("ids", "one id a line: YTID, YTID_000030, YTID_30_40", parse_id),
}  # fmt: skip
PLAIN = "plain"
PLAIN_TITLE, PLAIN_FORM = "csv with a header", "a header with id, and any of start, end, label, part"
JSON_FORMATS: dict[str, JsonFormat] = {
    "music": JsonFormat(
        "MUSIC", '{"videos": {"flute": [YTID, ...]}}',
        lambda content: isinstance(content, dict) and isinstance(content.get("videos"), dict), parse_music,
    ),
    "cav-mae": JsonFormat(
        "CAV-MAE", '{"data": [{"video_id": ID, "labels": "mid,mid"}]}',
        lambda content: isinstance(content, dict) and isinstance(content.get("data"), list), parse_cav_mae,
    ),
    "vggss": JsonFormat(
        "VGG-SS", '[{"file": "YTID_000030", "class": label}]', lambda content: isinstance(content, list), parse_vggss
    ),
    "solos": JsonFormat("Solos", '{"Flute": {YTID: [[first frame, last frame]]}}', _is_solos, parse_solos),
}  # fmt: skip
FORMAT_NAMES = (*ROW_FORMATS, PLAIN, *JSON_FORMATS)


def describe_forms(names: Iterable[str] = FORMAT_NAMES) -> str:
    """List formats, by their `names`, with what they look like, for a message."""
    forms = {PLAIN: (PLAIN_TITLE, PLAIN_FORM)}
    forms |= {name: (one.title, one.form) for name, one in ROW_FORMATS.items()}
    forms |= {name: (one.title, one.form) for name, one in JSON_FORMATS.items()}
    return "; ".join(f"{forms[name][0]} ({forms[name][1]})" for name in names)


# --------------------------------------------------------------------------------------------------------- cells


def _column_name(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _youtube_id(video: object) -> str:
    if not isinstance(video, str) or not YOUTUBE_ID.fullmatch(video):
        raise ValueError(f"{_quote(video)} is not a YouTube id (11 letters, digits, - or _)")
    return video


def _seconds(text: str) -> float:
    if not SECONDS.fullmatch(text):
        raise ValueError("the times must be seconds, such as 30 or 30.000")
    return round(float(text), 3)


def _times(start: float, end: float) -> tuple[float, float]:
    start, end = round(start, 3), round(end, 3)  # before they are compared: no clip may have no length
    if not start < end:
        raise ValueError("the start must lie before the end, by a millisecond at least")
    return start, end


def _label(text: str) -> tuple[str, ...]:
    """Mids with commas, semicolons or bars between them, or one class of any name, which may hold them."""
    label = text.strip()
    if not label or not is_printable_text(label):
        raise ValueError(f"{_quote(text)} is no label: it must be printable text")
    parts = [part.strip() for part in re.split("[,;|]", label)]
    return tuple(dict.fromkeys(parts)) if all(map(MID.fullmatch, parts)) else (normalize_name(label),)


def _labels(text: str) -> tuple[str, ...]:
    """The classes of a text, see `_label`; () for no text."""
    return _label(text) if text.strip() else ()


def _part(text: str) -> str:
    if text.lower() not in PARTS:
        raise ValueError(f"{_quote(text)} is no part: it must be train, val or test")
    return PARTS[text.lower()]


def _count(cells: list[str]) -> str:
    return f"it has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}"


def _quote(value: object) -> str:
    return repr(printable(str(value))[:40])
