"""The lines of a file of kept results: a clip's result and what its files were, as JSON."""

import base64
import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.checks.clip_checks import CheckResult
from dataset.making.checks.findings import Finding
from dataset.making.checks.sync import Sync
from dataset.making.split_folders import SplitFolder
from dataset.reading.picture_files import read_frame_rate

Stamp = list[Any]  # of the files of a clip: equal as long as nobody has changed them


class ResultLine(NamedTuple):
    """A line of the file.

    Attributes:
        split: name of the split of the clip.
        stamp: of its files before they were read.
        limit: the time limit, seconds, where reading the clip hung or crashed; else None.
        result: of the clip.
    """

    split: str
    stamp: Stamp
    limit: float | None
    result: CheckResult


def stamp_files(split: SplitFolder, clip: str) -> Stamp:
    """Describe the files of a clip so that a change of any of them changes the description.

    Args:
        split: of the clip.
        clip: its id.
    """
    picture, sound = split.files(clip)
    if not picture.is_dir():
        return [_stamp(picture), _stamp(sound)]
    frames = sorted((path.name, _stamp(path)) for path in picture.iterdir())
    return [[[name, stamp] for name, stamp in frames], _stamp(sound), list(read_frame_rate(split.folder))]


def _stamp(path: Path) -> list[int] | None:
    """Size and times of a file; None where it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def short_hash(text: str) -> int:
    """Hash a `text` to 8 bytes: of two million texts, two differ and have the same hash once in ten million times."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def encode_line(line: ResultLine) -> bytes:
    """Encode a `line`, with its end."""
    result = line.result
    thumbnail = None if result.thumbnail is None else base64.b64encode(result.thumbnail).decode()
    about = {"split": line.split, "files": line.stamp, "limit": line.limit}
    return json.dumps({**about, **result._asdict(), "thumbnail": thumbnail}).encode() + b"\n"


def decode_line(text: bytes) -> ResultLine:
    """Decode what `encode_line` made, `text`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, RecursionError: it is something else.
    """
    line: Any = json.loads(text)
    split, stamp, limit = line.pop("split"), line.pop("files"), line.pop("limit")
    result = CheckResult(
        **{
            **line,
            "thumbnail": None if line["thumbnail"] is None else base64.b64decode(line["thumbnail"]),
            "cures": tuple(line["cures"]),
            "sync": None if line["sync"] is None else Sync(*line["sync"]),
            "findings": tuple(Finding(*found) for found in line["findings"]),
        }
    )
    return ResultLine(split, stamp, limit, result)
