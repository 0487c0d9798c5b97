"""Find clips on both sides of a split: in two names of one folder, as equal files, or as cuts of a recording."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from dataset.making.recordings import group_by_name
from dataset.making.shard_writer import file_sha256
from dataset.making.split_folders import SplitFolder
from dataset.making.text import count_text, printable


def find_leaks(splits: Sequence[SplitFolder]) -> list[str]:
    """Describe what two splits have in common, each in one sentence.

    Args:
        splits: of a dataset.
    """
    return [*_same_folders(splits), *_same_files(splits), *_same_recordings(splits)]


def _same_folders(splits: Sequence[SplitFolder]) -> Iterator[str]:
    for one, two in combinations(splits, 2):
        if os.path.samefile(one.folder, two.folder):
            yield f"{one.name} and {two.name} are the same folder, {one.folder.resolve()}: all their clips leak"


def _same_files(splits: Sequence[SplitFolder]) -> Iterator[str]:
    """Videos and sounds of the same bytes in two splits; folders that two splits share are left out."""
    split_of: dict[Path, SplitFolder] = {}
    by_size: dict[int, list[Path]] = defaultdict(list)
    for split in _distinct(splits):
        for path in (path for clip in split.ids for path in split.files(clip)):
            if path.is_file():
                split_of[path] = split
                by_size[path.stat().st_size].append(path)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for paths in by_size.values():
        if len({split_of[path].name for path in paths}) > 1:
            for path in paths:
                by_content[_checksum(path)].append(path)
    equal: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)
    for paths in by_content.values():
        for one, two in combinations(paths, 2):
            if split_of[one] is not split_of[two]:
                equal[split_of[one].name, split_of[two].name].append((one, two))
    for names, pairs in equal.items():
        (one, two), ids = pairs[0], {one.stem for one, _ in pairs}
        example = f"such as {printable(f'{names[0]}/{one.parent.name}/{one.name}')} and "
        example += printable(f"{names[1]}/{two.parent.name}/{two.name}")
        clips = count_text(len(ids), "clip")
        yield f"{clips} of {names[0]} and of {names[1]} have files of the same content, {example}"


def _checksum(path: Path) -> str:
    """Checksum of a file; one of its own if it can't be read."""
    try:
        return file_sha256(path)
    except OSError:
        return str(path)


def _same_recordings(splits: Sequence[SplitFolder]) -> Iterator[str]:
    """Cuts of one recording in two splits, as far as names tell."""
    splits = _distinct(splits)
    names = {clip: clip for split in splits for clip in split.ids}
    if len(splits) < 2 or not names:
        return
    recording = group_by_name(names, len(splits)).of
    for one, two in combinations(splits, 2):
        of_two = {recording[clip]: clip for clip in reversed(two.ids)}
        leaking = {recording[clip]: clip for clip in reversed(one.ids) if recording[clip] in of_two}
        if leaking:
            name, clip = min(leaking.items())
            cuts = f"such as {printable(clip)} and {printable(of_two[name])}"
            have = "has" if len(leaking) == 1 else "have"
            yield f"{count_text(len(leaking), 'recording')} {have} clips in {one.name} and in {two.name}, {cuts}"


def _distinct(splits: Sequence[SplitFolder]) -> list[SplitFolder]:
    """The splits without those that are another name of an earlier one."""
    same: Callable[[SplitFolder, SplitFolder], bool] = lambda a, b: os.path.samefile(a.folder, b.folder)  # noqa: E731
    return [split for k, split in enumerate(splits) if not any(same(split, other) for other in splits[:k])]
