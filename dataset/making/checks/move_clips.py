"""Move refused clips out of a dataset: DIR/SPLIT/..., with their labels and boxes, and DIR/moved.csv.

Nothing is replaced, and nothing is lost: every file is at its old path, at its new one, or, for a moment, at both.
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.checks.move_files import is_moved_already, move_file
from dataset.making.split_folders import TABLES, SplitFolder
from dataset.making.text import escape_surrogates, printable
from dataset.reading.annotations import load_json
from dataset.reading.errors import error_reason
from dataset.reading.picture_files import RATE_FILE, is_of_pictures, read_frame_rate
from utils.errors import UserError
from utils.files import write_json, write_text

MOVED_LIST = "moved.csv"
COLUMNS = ("split", "clip", "from", "to", "reason")

Reasons = Mapping[tuple[str, str], str]  # why a clip is refused, by split and clip


class FileMove(NamedTuple):
    """A file that moves, one row of moved.csv.

    Attributes:
        split: name of its split.
        clip: its id.
        source: absolute path.
        target: absolute path.
        reason: why the clip is refused.
    """

    split: str
    clip: str
    source: Path
    target: Path
    reason: str

    @property
    def row(self) -> tuple[str, ...]:
        """What moved.csv says of it."""
        split, clip, source, target, reason = self
        return tuple(map(escape_surrogates, (split, clip, str(source), str(target), reason)))


class _TableMove(NamedTuple):
    """Two JSON tables between which entries move, and what each of them holds afterwards."""

    source: Path
    source_content: dict[str, Any]
    target: Path
    target_content: dict[str, Any]


class MovePlan(NamedTuple):
    """All that moves, planned and checked before anything does.

    Attributes:
        target: the folder to which it moves.
        files: to move; of a clip without files there is none.
        shared: files that stay, as a clip that isn't refused is made of them too.
        tables: what becomes of vid2genre.json and boxes.json.
        earlier: rows of the moved.csv of earlier moves.
        rates: {path: content} of the files of frame rates that the moved folders of frames need.
    """

    target: Path
    files: list[FileMove]
    shared: list[Path]
    tables: list[_TableMove]
    earlier: list[tuple[str, ...]]
    rates: dict[Path, dict[str, Any]]


def plan_moves(splits: Sequence[SplitFolder], refused: Reasons, target: Path, option: str) -> MovePlan:
    """Plan to move refused clips to another dataset folder, with their entries in vid2genre.json and boxes.json.

    The rate of frames goes with them.

    Args:
        splits: of the dataset.
        refused: {(split, clip): reason}.
        target: folder to move them to.
        option: of the command line, which names `target`, for messages.

    Raises:
        UserError: a file, or another entry for a clip, already exists in `target`, or its frames have another rate.
    """
    earlier = _read_moved_list(target / MOVED_LIST, option)
    kept = {
        _identity(path)
        for split in splits
        for clip in split.ids
        if (split.name, clip) not in refused
        for path in _paths(split, clip)
    }
    files: list[FileMove] = []
    shared: list[Path] = []
    tables: list[_TableMove] = []
    seen: set[tuple] = set()  # two splits may be links to one folder
    for split in splits:
        clips = [clip for clip in split.ids if (split.name, clip) in refused]
        for move in _list_files(split, clips, refused, target):
            if _identity(move.source) in seen:
                continue
            seen.add(_identity(move.source))
            if _identity(move.source) in kept:
                shared.append(move.source)
            else:
                files.append(move)
        for table in [split.folder / name for name in TABLES if clips and (split.folder / name).exists()]:
            if _identity(table) not in seen:
                seen.add(_identity(table))
                tables.append(_plan_table(table, target / split.name / table.name, clips, option))
    plan = MovePlan(target, files, shared, tables, earlier, _plan_rates(splits, refused, target, option))
    _refuse_existing(plan, option)
    return plan


def move_clips(plan: MovePlan) -> None:
    """Move all that `plan` lists. A move that was interrupted is completed by planning and moving again.

    Raises:
        UserError: the disk refuses it; what was moved is listed in moved.csv, everything else is in place.
    """
    done = 0
    try:
        for path in {move.target.parent for move in plan.files} | {table.target.parent for table in plan.tables}:
            path.mkdir(parents=True, exist_ok=True)
        # Entries are written to the target before the files move and removed from the source afterwards: an
        # interruption loses none. So is the list, from which an interrupted move is recognized.
        for table in plan.tables:
            write_json(table.target, table.target_content)
        for path, content in plan.rates.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, content)
        _write_moved_list(plan, len(plan.files))
        for move in plan.files:
            if os.path.lexists(move.target) and is_moved_already(move.source, move.target):
                move.source.unlink()
            else:
                move_file(move.source, move.target)
            if is_of_pictures(move.source.parent):
                with contextlib.suppress(OSError):  # it still holds frames
                    move.source.parent.rmdir()
            done += 1
        for table in plan.tables:
            write_json(table.source, table.source_content)
    except OSError as error:
        with contextlib.suppress(OSError):  # the disk may be full
            if (plan.target / MOVED_LIST).exists():
                _write_moved_list(plan, done)
        moved = f"{done} of {len(plan.files)} files were moved, the others are in place"
        at = printable(str(error.filename or plan.target))
        raise UserError(f"{at} can't be moved or written ({error_reason(error)}); {moved}: fix this, then repeat the "
                        "command") from None  # fmt: skip


def _list_files(split: SplitFolder, clips: Sequence[str], refused: Reasons, target: Path) -> Iterator[FileMove]:
    """The files of some clips of a split that exist, or are links, and where they move."""
    for clip in clips:
        for path in _paths(split, clip):
            if os.path.lexists(path):
                to = target / split.name / path.relative_to(split.folder)
                yield FileMove(split.name, clip, _absolute(path), _absolute(to), refused[split.name, clip])


def _paths(split: SplitFolder, clip: str) -> Iterator[Path]:
    """The files of a clip, those in a folder of frames each by itself."""
    for path in split.files(clip):
        if split.pictures is not None and path.is_dir() and not path.is_symlink():
            yield from sorted(inner for inner in path.rglob("*") if inner.is_symlink() or not inner.is_dir())
        else:
            yield path


def _absolute(path: Path) -> Path:
    """Make a path absolute without following a link of its own name."""
    return Path(os.path.realpath(path.parent)) / path.name


def _identity(path: Path) -> tuple:
    """Tell whether two paths are the same entry of the same folder, whatever links lead there."""
    try:
        parent = os.stat(path.parent)
    except OSError:
        return (str(path),)
    return (parent.st_dev, parent.st_ino, path.name)


def _refuse_existing(plan: MovePlan, option: str) -> None:
    """Refuse to move a file to where one exists, except where an earlier move of it was interrupted."""
    known = {row[2:4] for row in plan.earlier}
    for move in plan.files:
        if not os.path.lexists(move.target):
            continue
        is_same_entry = _identity(move.source) == _identity(move.target)
        if is_same_entry or move.row[2:4] not in known or not is_moved_already(move.source, move.target):
            raise UserError(f"{printable(str(move.target))} already exists: choose another folder with {option}")


def _plan_table(source: Path, target: Path, clips: list[str], option: str) -> _TableMove:
    here, there = (load_json(path, "id: entry") if path.exists() else {} for path in (source, target))
    for path, content in ((source, here), (target, there)):
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a table: it must hold id: entry")
    moved = {clip: here[clip] for clip in clips if clip in here}
    if any(there.get(clip, entry) != entry for clip, entry in moved.items()):
        raise UserError(f"{target} has other entries for the same clips: choose another folder with {option}")
    rest = {clip: entry for clip, entry in here.items() if clip not in moved}
    return _TableMove(source, rest, target, there | moved)


def _plan_rates(
    splits: Sequence[SplitFolder], refused: Reasons, target: Path, option: str
) -> dict[Path, dict[str, Any]]:
    """The files of frame rates that are missing where folders of frames move."""
    rates = {}
    for split in splits:
        if split.pictures is None or not any((split.name, clip) in refused for clip in split.pictures.folders):
            continue
        rate, folder = read_frame_rate(split.folder), target / split.name
        if not any((place / RATE_FILE).exists() for place in (folder, target)):
            rates[folder / RATE_FILE] = rate._asdict()
        elif read_frame_rate(folder) != rate:
            raise UserError(
                f"{folder} holds frames at another rate, by {RATE_FILE}: choose another folder with {option}"
            )
    return rates


def _read_moved_list(path: Path, option: str) -> list[tuple[str, ...]]:
    """Read the rows of an earlier moved.csv; none if there is no such file."""
    if not path.exists():
        return []
    try:
        rows = [tuple(row) for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} can't be read ({error_reason(error)}): choose another folder with {option}") from None
    if rows[:1] != [COLUMNS] or any(len(row) != len(COLUMNS) for row in rows):
        raise UserError(f"{path} is not a list of moved clips: choose another folder with {option}")
    return rows[1:]


def _write_moved_list(plan: MovePlan, count: int) -> None:
    """Write moved.csv: the rows of earlier moves, and of the first `count` files of this one."""
    out = io.StringIO()
    rows = dict.fromkeys([*plan.earlier, *(move.row for move in plan.files[:count])])
    csv.writer(out).writerows([COLUMNS, *rows])
    write_text(plan.target / MOVED_LIST, out.getvalue())
