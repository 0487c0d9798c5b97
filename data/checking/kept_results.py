"""The results of data/check_data.py, kept clip by clip: a kill loses none, and only new and changed files are read.

    {"version": 1}
    {"split": "train", "files": [[size, mtime, ctime], ...], "limit": null, "clip": "a", "kind": "ok", ...}

A line is appended for each clip; the last one of a clip counts. Memory holds some 30 bytes of each clip: a result is
read from the file when it is needed, so that millions of clips can be checked.
"""

import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.checking.result_lines import ResultLine, Stamp, decode_line, encode_line, short_hash
from dataset.making.checks.clip_checks import CHECK_KINDS, CHECK_VERSION, CheckResult
from dataset.making.checks.duplicates import Key, refuse, with_duplicate
from dataset.making.split_folders import SplitFolder
from utils.errors import UserError
from utils.locks import lock_output

HEADER = {"version": CHECK_VERSION}
ALL_KINDS = (*CHECK_KINDS, "unlisted")
HAS_FINDINGS, HAS_MESSAGE = 1, 2  # bits
NOT_A_LINE = (ValueError, TypeError, AttributeError, KeyError, RecursionError)


class KeptResults(Mapping[Key, CheckResult]):
    """The results of the clips of a dataset, {(split, clip): result}, which lie in an open file.

    Args:
        path: of the file.
        file: it, open for reading and appending, without a buffer. One of another version of the check is emptied.
        time_limit: the option: where a clip took too long before, another limit asks for another try.
        splits: of the dataset.
    """

    def __init__(self, path: Path, file: BinaryIO, time_limit: float, splits: Sequence[SplitFolder]) -> None:
        self._path, self._file, self._time_limit = path, file, time_limit
        self._splits: dict[str, tuple[int, SplitFolder]] = {}  # with the position of their first clip
        count = 0
        for split in splits:
            self._splits[split.name] = count, split
            count += len(split.ids)
        # By the position of a clip: where its line begins in the file (-1: nowhere), its bytes, hashes of the stamp of
        # its files and of its digest (0: it has none), the number of its kind, and bits.
        self._begins, self._sizes = array("q", [-1]) * count, array("I", [0]) * count
        self._stamps, self._digests = array("Q", [0]) * count, array("Q", [0]) * count
        self._kinds, self._bits = bytearray(count), bytearray(count)
        self._twins: Mapping[Key, Key] = {}
        self._refused: Collection[str] = ()
        self._end = 0
        self._read()

    def _read(self) -> None:
        """Read the lines up to one that a kill, a full disk or a power cut has ruined, which is cut off."""
        with open(self._path, "rb") as lines:
            for text in lines:
                try:
                    if not text.endswith(b"\n") or (self._end == 0 and json.loads(text) != HEADER):
                        break
                    if self._end:
                        line = decode_line(text)
                        if line.limit in (None, self._time_limit) and (line.split, line.result.clip) in self:
                            self._note(line, len(text))
                except NOT_A_LINE:
                    break
                self._end += len(text)
        self._file.truncate(self._end)
        if not self._end:
            self._append(json.dumps(HEADER).encode() + b"\n")

    def _note(self, line: ResultLine, size: int) -> None:
        """Note where a line of `size` bytes lies, at the end of those before it, and what is often asked of it."""
        result = line.result
        k = self._position((line.split, result.clip))
        self._begins[k], self._sizes[k] = self._end, size
        self._stamps[k], self._digests[k] = _hash_stamp(line.stamp), short_hash(result.digest) if result.digest else 0
        self._kinds[k] = ALL_KINDS.index(self._with_listing(line.split, result).kind)
        self._bits[k] = HAS_FINDINGS * bool(result.findings) + HAS_MESSAGE * bool(result.message)

    def _position(self, key: Key) -> int:
        """Find the place of a clip among all; KeyError: there is no such clip."""
        first, split = self._splits[key[0]]
        k = bisect_left(split.ids, key[1])
        if k == len(split.ids) or split.ids[k] != key[1]:
            raise KeyError(key)
        return first + k

    def _with_listing(self, split: str, result: CheckResult) -> CheckResult:
        """Refuse a clip that is ok but that the table of its split doesn't list."""
        if result.kind != "ok" or result.clip in self._splits[split][1].labels:
            return result
        return result._replace(kind="unlisted", message="vid2genre.json doesn't list it: never trained on")

    def has(self, split: str, clip: str, stamp: Callable[[], Stamp]) -> bool:
        """Check whether a clip has a result, and its files have not changed since.

        Args:
            split: its name.
            clip: its id.
            stamp: makes the stamp of its files, by `stamp_files`; called only if there is a result.
        """
        k = self._position((split, clip))
        return self._begins[k] >= 0 and self._stamps[k] == _hash_stamp(stamp())

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
        line = ResultLine(split, stamp, self._time_limit if is_lost else None, result)
        text = encode_line(line)
        self._note(line, len(text))
        self._append(text)

    def _append(self, text: bytes) -> None:
        left = memoryview(text)
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _cannot_use(self._path, error, "written") from None
        self._end += len(text)

    def judge(self, twins: Mapping[Key, Key], refused: Collection[str]) -> None:
        """Take duplicates as a finding, and refuse clips for what was found in them: from now on results say so.

        Args:
            twins: of `find_duplicates`.
            refused: kinds of findings for which a clip that is ok is refused.
        """
        self._twins, self._refused = twins, refused
        for key, result in self.with_findings() if refused else ():
            self._kinds[self._position(key)] = ALL_KINDS.index(result.kind)

    def __getitem__(self, key: Key) -> CheckResult:
        k = self._position(key)
        try:
            text = os.pread(self._file.fileno(), self._sizes[k], self._begins[k]) if self._begins[k] >= 0 else b""
            result = decode_line(text).result
        except OSError as error:
            raise _cannot_use(self._path, error, "read") from None
        except NOT_A_LINE:
            raise UserError(f"{self._path} was changed during the check: repeat the command") from None
        result = self._with_listing(key[0], result)
        if twin := self._twins.get(key):
            result = with_duplicate(result, twin)
        return refuse(result, self._refused)

    def __iter__(self) -> Iterator[Key]:
        for name, (_, split) in self._splits.items():
            for clip in split.ids:
                yield name, clip

    def __len__(self) -> int:
        return len(self._begins)

    def __contains__(self, key: object) -> bool:
        try:
            return self._position(key) >= 0  # type: ignore[arg-type]
        except (KeyError, TypeError):
            return False

    def kinds(self) -> Iterator[tuple[Key, str]]:
        """List the kind of each clip's result, by split and clip."""
        for key, kind in zip(self, self._kinds, strict=True):
            yield key, ALL_KINDS[kind]

    def kind(self, key: Key) -> str:
        """Get the kind of the result of a clip, `key`."""
        return ALL_KINDS[self._kinds[self._position(key)]]

    def with_findings(self) -> Iterator[tuple[Key, CheckResult]]:
        """List the results with findings, by split and clip."""
        for key, bits in zip(self, self._bits, strict=True):
            if bits & HAS_FINDINGS or key in self._twins:
                yield key, self[key]

    def with_notes(self) -> Iterator[tuple[Key, CheckResult]]:
        """List the results of clips that are ok and have a message, by split and clip."""
        ok = ALL_KINDS.index("ok")
        for key, bits, kind in zip(self, self._bits, self._kinds, strict=True):
            if bits & HAS_MESSAGE and kind == ok:
                yield key, self[key]

    def with_equal_digests(self) -> dict[Key, CheckResult]:
        """List the results, without thumbnails, of clips whose digest another one has too, as far as hashes tell."""
        twice = repeated(self._digests)
        return {
            key: self[key]._replace(thumbnail=None)
            for key, digest in zip(self, self._digests, strict=True)
            if digest in twice
        }


@contextmanager
def keep_results(path: Path, time_limit: float, splits: Sequence[SplitFolder]) -> Iterator[KeptResults]:
    """Open the results of earlier runs, and keep others out meanwhile.

    Args:
        path: of the file; it is created.
        time_limit, splits: see `KeptResults`.

    Raises:
        UserError: another process uses the file, or it can't be written.
    """
    with lock_output(path, "--csv"), _open(path) as file:
        yield KeptResults(path, file, time_limit, splits)


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "a+b", buffering=0)
    except OSError as error:
        raise _cannot_use(path, error, "written") from None


def _cannot_use(path: Path, error: OSError, how: str) -> UserError:
    advice = "fix this and repeat the command, or choose another --csv"
    return UserError(f"{path} can't be {how} ({error.strerror}): {advice}")


def repeated(hashes: Sequence[int]) -> set[int]:
    """Find the numbers of 8 bytes, without 0, that a list of `hashes` has more than once."""
    ordered = np.sort(np.array(hashes, np.uint64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist()) - {0}


def _hash_stamp(stamp: Any) -> int:
    return short_hash(json.dumps(stamp))
