"""The folders of a dataset on disk: find its splits, list all their clips, move clips out of them."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.text import escape_surrogates
from dataset.reading.annotations import load_json, read_genres
from dataset.reading.clips import MEDIA_FOLDERS, clip_files
from dataset.reading.shard_format import is_shards
from utils.errors import UserError
from utils.files import write_json

SPLIT_ORDER = ("train", "val", "test")
TABLES = ("vid2genre.json", "boxes.json")


@dataclass(frozen=True)
class SplitFolder:
    """A split on disk.

    Attributes:
        folder: where it lies.
        name: "train", "val", "test" or any other.
        labels: {id: [mid, ...]}, the content of its vid2genre.json.
        ids: sorted ids of all clips that are listed there or have a file.
    """

    folder: Path
    name: str
    labels: dict[str, list[str]]
    ids: list[str]


def find_splits(root: Path | str) -> list[SplitFolder]:
    """Find the splits of a dataset.

    Args:
        root: dataset folder, or the folder of one split.

    Raises:
        UserError: there is no such folder, it holds no split, or a vid2genre.json is missing or invalid.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: give a dataset with train/, val/ or test/, or one of its splits")
    if is_shards(root) or is_shards(root.parent):
        raise UserError(
            f"{root} holds shards: check the folder that they were built from, and the shards by "
            "data/build_shards.py --verify"
        )
    folders = [root] if _is_split(root) else [path for path in root.iterdir() if _is_split(path)]
    if not folders:
        raise UserError(f"{root} holds no split: a dataset is SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}")
    rank = {name: k for k, name in enumerate(SPLIT_ORDER)}
    return [_read_split(path) for path in sorted(folders, key=lambda path: (rank.get(path.name, 3), path.name))]


def _is_split(folder: Path) -> bool:
    return (folder / "vid2genre.json").is_file() or (folder / "video").is_dir()


def _read_split(folder: Path) -> SplitFolder:
    labels = read_genres(folder / "vid2genre.json")
    ids = set(labels)
    for kind, suffix in MEDIA_FOLDERS:
        names = os.listdir(folder / kind) if (folder / kind).is_dir() else []
        # A name that begins with a dot is a file that is still being written.
        ids |= {name.removesuffix(suffix) for name in names if name.endswith(suffix) and not name.startswith(".")}
    return SplitFolder(folder, folder.resolve().name, labels, sorted(ids))


class _TableMove(NamedTuple):
    """Two JSON tables between which entries move, and what each of them holds afterwards."""

    source: Path
    source_content: dict[str, Any]
    target: Path
    target_content: dict[str, Any]


def move_clips(clips_to_move: Iterable[tuple[SplitFolder, list[str]]], target: Path, option: str) -> None:
    """Move clips to another dataset folder, with their entries in vid2genre.json and boxes.json.

    A move that was interrupted is completed by the same call.

    Args:
        clips_to_move: splits, each with the ids of its clips that move.
        target: folder to move them to: target/SPLIT/{video,audio,vid2genre.json,boxes.json}; it is created.
        option: of the command line, which names `target`, for messages.

    Raises:
        UserError: a file, or another entry for a clip, already exists in `target`, and nothing was moved; or the
            disk refuses a move.
    """
    moves: list[tuple[Path, Path]] = []
    tables: list[_TableMove] = []
    for split, clips in clips_to_move:
        for path in (path for clip in clips for path in clip_files(split.folder, clip) if os.path.lexists(path)):
            moves.append((path, target / split.name / path.parent.name / path.name))
            if os.path.lexists(moves[-1][1]):
                name = escape_surrogates(str(moves[-1][1]))
                raise UserError(f"{name} already exists: choose another folder with {option}")
        for name in TABLES if clips else ():
            if (split.folder / name).exists():
                tables.append(_plan_table(split.folder / name, target / split.name / name, clips, option))
    try:
        for path in {to.parent for _, to in moves} | {table.target.parent for table in tables}:
            path.mkdir(parents=True, exist_ok=True)
        # Entries are written to the target before the files move and removed from the source afterwards: an
        # interruption loses none, and the same command resumes.
        for table in tables:
            write_json(table.target, table.target_content)
        for path, to in moves:
            shutil.move(path, to)
        for table in tables:
            write_json(table.source, table.source_content)
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): fix this, then repeat the command") from None


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
