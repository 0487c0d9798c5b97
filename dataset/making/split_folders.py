"""The folders of a dataset on disk: find its splits, list all their clips."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dataset.reading.annotations import read_genres
from dataset.reading.clips import MEDIA_FOLDERS, clip_files
from dataset.reading.names import normalize_name
from dataset.reading.picture_clips import read_picture_labels
from dataset.reading.picture_files import PICTURES, SOUNDS, PictureFiles, find_pictures, holds_pictures, read_frame_rate
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
        pictures: the files of a split of frames and sounds; None of one of videos.
    """

    folder: Path
    name: str
    labels: dict[str, list[str]]
    ids: list[str]
    pictures: PictureFiles | None = None

    def files(self, clip: str) -> tuple[Path, Path]:
        """Return the paths of a clip's video, picture or folder of frames, and of its sound, whether they exist or not.

        Args:
            clip: its id.
        """
        if self.pictures is None:
            return clip_files(self.folder, clip)
        picture = self.pictures.pictures.get(clip, self.folder / PICTURES / f"{clip}.jpg")
        return picture, self.pictures.sounds.get(clip, self.folder / SOUNDS / f"{clip}.wav")

    def unused(self) -> Iterator[tuple[Path, str]]:
        """Yield each file beside the clips', and what files there have to be."""
        if self.pictures is not None:
            form = f"files are {PICTURES}/ID.jpg, {PICTURES}/ID/000001.jpg and {SOUNDS}/ID.wav"
            yield from ((path, form) for path in self.pictures.unused)
            return
        for folder, suffix in MEDIA_FOLDERS:
            others = (name for name in _names(self.folder / folder) if not name.endswith((suffix, ".tmp")))
            for name in sorted(others):
                yield self.folder / folder / name, f"files of {folder}/ are ID{suffix}"


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
        raise UserError(
            f"{root} holds no split: a dataset is SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}, or has frames/ "
            "in place of video/"
        )
    rank = {name: k for k, name in enumerate(SPLIT_ORDER)}
    return [_read_split(path) for path in sorted(folders, key=lambda path: (rank.get(path.name, 3), path.name))]


def _is_split(folder: Path) -> bool:
    return (folder / "vid2genre.json").is_file() or (folder / "video").is_dir() or holds_pictures(folder)


def _read_split(folder: Path) -> SplitFolder:
    # The name in the dataset, not of the folder that a link leads to: two links may lead to folders of one name.
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    if holds_pictures(folder):
        files = find_pictures(folder)
        if files.folders:
            read_frame_rate(folder)
        labels = read_picture_labels(folder, files)
        return SplitFolder(folder, name, labels, sorted({*labels, *files.pictures, *files.sounds}), files)
    labels = read_genres(folder / "vid2genre.json")
    same: dict[tuple[str, ...], list[str]] = {}  # millions of clips have far fewer lists of labels
    for clip, mids in labels.items():
        labels[clip] = same.setdefault(tuple(mids), mids)
    unlisted: set[str] = set()
    for kind, suffix in MEDIA_FOLDERS:
        ids = (normalize_name(file.removesuffix(suffix)) for file in _names(folder / kind) if file.endswith(suffix))
        unlisted.update(clip for clip in ids if clip not in labels)
    return SplitFolder(folder, name, labels, sorted(chain(labels, unlisted)))


def _names(folder: Path) -> Iterator[str]:
    """The names in a folder, if there is one; one that begins with a dot is of a file that is still being written."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith("."))
