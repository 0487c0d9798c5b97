"""The folders of a dataset on disk: find its splits, list all their clips."""

import os
from dataclasses import dataclass
from pathlib import Path

from dataset.reading.annotations import read_genres
from dataset.reading.clips import MEDIA_FOLDERS
from dataset.reading.names import normalize_name
from dataset.reading.shard_format import is_shards
from utils.errors import UserError

SPLIT_ORDER = ("train", "val", "test")
TABLES = ("vid2genre.json", "boxes.json")


@dataclass(frozen=True)
class SplitFolder:
    """A split on disk.

    Attributes:
        folder: where it lies.
        name: "train", "val", "test" or any other: its name in the dataset, also where it is a link to another folder.
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
        names = [name for name in names if name.endswith(suffix) and not name.startswith(".")]
        ids |= {normalize_name(name.removesuffix(suffix)) for name in names}
    # The name in the dataset, not of the folder that a link leads to: two links may lead to folders of one name.
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return SplitFolder(folder, name, labels, sorted(ids))
