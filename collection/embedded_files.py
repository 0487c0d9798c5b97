"""Files that are embedded already, in a collection or in parts: which of them have not changed, and their rows."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collection.arrays import StoredArray, open_npy
from collection.storage import output_paths, read_about, read_arrays, report_damage
from dataset.reading.limits import TIME_LIMIT
from dataset.reading.media_folder import MediaItem
from utils.errors import UserError

CONTENT_STAMP = 4  # the first numbers of a stamp: they change with the content; the last one with permissions, too
STAMP_SIZE = 5


def stamp_files(items: Sequence[MediaItem]) -> np.ndarray:
    """Get what shows that a file or its sound has changed.

    Args:
        items: F files.

    Returns:
        (F, 5) int64: size in bytes and time of modification in ns, of the file and of its sound; and the later time of
        a change of either, also of its permissions. -1 where there is none.
    """
    stamps = np.empty((len(items), STAMP_SIZE), np.int64)
    for row, item in enumerate(items):
        own = _stat(item.path)
        sound = own if item.sound_name == item.name else _stat(item.sound)
        stamps[row] = *own[:2], *sound[:2], max(own[2], sound[2])
    return stamps


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:  # it was removed meanwhile: its reader will say so
        return -1, -1, -1
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class EmbeddedFiles:
    """The F files of an npz file that embed.py wrote, and where their rows are.

    Args:
        path: of the npz file.
        verify: as of `collection.arrays.open_npz`.

    Attributes:
        path: as given.
        about: of the collection.
        stamps: (F, 5) int64, see `stamp_files`.
        first_row, first_frame: (F + 1,) int64, of each file: its first row, and its first row in the maps.
        arrays: {name: array} with N rows.
        maps: of the frames, or None.

    Raises:
        UserError: the file can't be read, or was written by an earlier version.
    """

    def __init__(self, path: Path, verify: bool = True) -> None:
        stored = read_arrays(path, verify)
        if "stamps" not in stored:
            raise UserError(
                f"{path} already exists, from an earlier version, which did not note when files change: choose another "
                "--out, or remove it to embed again"
            )
        self.path, self.about = path, read_about(path, stored)
        with report_damage(path):
            self.stamps, files = stored["stamps"].read(), stored["files"].read()
            has_frame = stored["has_frame"].read()
            if self.stamps.shape != (len(self.about["files"]), STAMP_SIZE) or (np.diff(files) < 0).any():
                raise ValueError("its files have no order")
        self.maps = stored.pop("maps", None)
        if self.maps is None and "norms" in stored:
            with report_damage(output_paths(path).maps):
                self.maps = open_npy(output_paths(path).maps)
        self.arrays = {name: array for name, array in stored.items() if name not in ("about", "stamps")}
        edges = np.arange(len(self.stamps) + 1)
        self.first_row = np.searchsorted(files, edges)
        self.first_frame = np.concatenate([[0], np.cumsum(np.bincount(files[has_frame], minlength=len(self.stamps)))])

    def names(self) -> Iterator[tuple[int, str]]:
        """Iterate over (number, name) of the files."""
        return ((k, name) for k, (name, *_) in enumerate(self.about["files"]))

    def is_unchanged(self, k: int, item: MediaItem, stamp: np.ndarray, time_limit: float) -> bool:
        """Check whether a file is as it was when it was embedded, or was left out.

        A file that was left out is tried again when its permissions or the time limit have changed as well.

        Args:
            k: number of the file.
            item: the file of the same name as it is now.
            stamp: (5,) int64, of it now.
            time_limit: for reading it now, seconds, the option.
        """
        _, kind, sound_name = self.about["files"][k]
        numbers = CONTENT_STAMP
        if item.name in self.about["skipped"]:
            if self.about.get("time_limit") != time_limit:
                return False
            numbers = STAMP_SIZE
        same = (self.stamps[k, :numbers] == stamp[:numbers]).all() and (stamp >= 0).all()
        return bool(same and (kind, sound_name) == (item.kind, item.sound_name))


class Run(NamedTuple):
    """Files that follow each other in an npz file as well as in the collection: `first` to before `last`."""

    source: EmbeddedFiles
    first: int
    last: int

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """Read their rows of an array, some at a time.

        Args:
            name: of the array; "maps" has rows for the frames alone.
        """
        source = self.source
        array: StoredArray | None = source.maps if name == "maps" else source.arrays[name]
        first = source.first_frame if name == "maps" else source.first_row
        if array is not None and first[self.first] < first[self.last]:
            with report_damage(source.path):
                yield from array.chunks(int(first[self.first]), int(first[self.last]))


class DoneFiles:
    """What earlier runs have embedded of a list of files, and what not.

    Args:
        items: the files as they are now, F of them.
        stamps: (F, 5) int64, of them.
        time_limit: for reading a file, seconds, the option.

    Attributes:
        items, stamps, time_limit: as given.
        place: (F, 2) int64: which source each file is in, and its number there; -1 if it is to be embedded.
        sources: the npz files.
    """

    def __init__(self, items: Sequence[MediaItem], stamps: np.ndarray, time_limit: float = TIME_LIMIT) -> None:
        self.items, self.stamps, self.time_limit = items, stamps, time_limit
        self.place = np.full((len(items), 2), -1, np.int64)
        self.sources: list[EmbeddedFiles] = []
        self._number = {item.name: number for number, item in enumerate(items)}

    def add(self, source: EmbeddedFiles) -> int:
        """Take the files of `source` that have not changed since; returns how many of its others are gone."""
        gone, number = 0, len(self.sources)
        self.sources.append(source)
        for k, name in source.names():
            now = self._number.get(name)
            if now is None:
                gone += 1
            elif source.is_unchanged(k, self.items[now], self.stamps[now], self.time_limit):
                self.place[now] = number, k
        return gone

    def is_done(self) -> np.ndarray:
        """Get which files are embedded: (F,) bool."""
        return self.place[:, 0] >= 0

    def runs(self) -> Iterator[Run]:
        """Iterate over the files, all of which must be done: those at a time that follow each other in a source."""
        if not len(self.place):
            return
        breaks = np.flatnonzero((np.diff(self.place[:, 0]) != 0) | (np.diff(self.place[:, 1]) != 1)) + 1
        for start, stop in zip([0, *breaks], [*breaks, len(self.place)], strict=True):
            number, first = map(int, self.place[start])
            yield Run(self.sources[number], first, first + int(stop - start))

    def reasons(self, key: str) -> dict[str, str]:
        """Collect {name: reason} of the files that were left out, or embedded in part.

        Args:
            key: "skipped" or "in_part".
        """
        found: dict[str, str] = {}
        for number, source in enumerate(self.sources):
            for name, reason in source.about[key].items():
                now = self._number.get(name)
                if now is not None and self.place[now, 0] == number:
                    found[name] = reason
        return found


def count_rows(runs: Iterable[Run]) -> tuple[np.ndarray, int]:
    """Count what `runs` of F files hold: the rows of each file, (F,) int64, and the frames of all."""
    counts, frames = [np.zeros(0, np.int64)], 0
    for source, first, last in runs:
        counts.append(np.diff(source.first_row[first : last + 1]))
        frames += int(source.first_frame[last] - source.first_frame[first])
    return np.concatenate(counts), frames


def about_files(items: Sequence[MediaItem]) -> list[list[Any]]:
    """List `items` as a collection's about["files"] does."""
    return [[item.name, item.kind, item.sound_name] for item in items]
