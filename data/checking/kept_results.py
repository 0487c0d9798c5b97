"""The results of data/check_data.py, kept clip by clip: a kill loses none, and only new and changed files are read.

    {"version": 1}
    {"split": "train", "files": [[size, mtime, ctime], ...], "limit": null, "clip": "a", "kind": "ok", ...}

A line is appended for each clip; the last one of a clip counts.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dataset.making.checks import CHECK_VERSION, CheckResult
from dataset.making.findings import Finding
from dataset.making.split_folders import SplitFolder
from dataset.making.sync import Sync
from dataset.reading.picture_files import read_frame_rate
from utils.errors import UserError
from utils.locks import lock_output

HEADER = {"version": CHECK_VERSION}

Stamp = list[Any]  # of the files of a clip: equal as long as nobody has changed them


class KeptResults:
    """The results in an open file.

    Args:
        path: of the file.
        file: it, open for appending, without a buffer. One of another version of the check is emptied.
        time_limit: the option: where a clip took too long before, another limit asks for another try.
    """

    def __init__(self, path: Path, file: BinaryIO, time_limit: float) -> None:
        self._path, self._file, self._time_limit = path, file, time_limit
        self._kept: dict[tuple[str, str], tuple[Stamp, CheckResult]] = {}
        self._read()

    def _read(self) -> None:
        """Read the lines up to one that a kill, a full disk or a power cut has ruined, which is cut off."""
        end = 0
        with open(self._path, "rb") as lines:
            for text in lines:
                try:
                    line: Any = json.loads(text)
                    if not text.endswith(b"\n") or (end == 0 and line != HEADER):
                        break
                    if end:
                        key, stamp, limit = (line.pop("split"), line["clip"]), line.pop("files"), line.pop("limit")
                        kept = stamp, _to_result(line)
                        if limit in (None, self._time_limit):
                            self._kept[key] = kept
                except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
                    break
                end += len(text)
        self._file.truncate(end)
        if not end:
            self._append(HEADER)

    def find(self, split: str, clip: str, stamp: Stamp) -> CheckResult | None:
        """Find the result of a clip, None where its files have changed or it was never checked.

        Args:
            split: its name.
            clip: its id.
            stamp: of its files, from `stamp_files`.
        """
        kept = self._kept.get((split, clip))
        return kept[1] if kept is not None and kept[0] == stamp else None

    def add(self, split: str, result: CheckResult, stamp: Stamp, is_lost: bool) -> None:
        """Append a result.

        Args:
            split: name of the split of the clip.
            result: of the clip.
            stamp: of its files before they were read.
            is_lost: whether reading the clip hung or crashed.

        Raises:
            UserError: the file can't be written.
        """
        limit = self._time_limit if is_lost else None
        self._append({"split": split, "files": stamp, "limit": limit, **_to_json(result)})

    def _append(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise _cannot_write(self._path, error) from None


@contextmanager
def keep_results(path: Path, time_limit: float) -> Iterator[KeptResults]:
    """Open the results of earlier runs, and keep others out meanwhile.

    Args:
        path: of the file; it is created.
        time_limit: see `KeptResults`.

    Raises:
        UserError: another process uses the file, or it can't be written.
    """
    with lock_output(path, "--csv"), _open(path) as file:
        yield KeptResults(path, file, time_limit)


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> UserError:
    advice = "fix this and repeat the command, or choose another --csv"
    return UserError(f"{path} can't be written ({error.strerror}): {advice}")


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


def _to_json(result: CheckResult) -> dict[str, Any]:
    thumbnail = None if result.thumbnail is None else base64.b64encode(result.thumbnail).decode()
    return {**result._asdict(), "thumbnail": thumbnail}


def _to_result(line: dict[str, Any]) -> CheckResult:
    """Make a result of the JSON of `_to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return CheckResult(
        **{
            **line,
            "thumbnail": None if line["thumbnail"] is None else base64.b64decode(line["thumbnail"]),
            "cures": tuple(line["cures"]),
            "sync": None if line["sync"] is None else Sync(*line["sync"]),
            "findings": tuple(Finding(*found) for found in line["findings"]),
        }
    )
