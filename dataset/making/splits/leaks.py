"""Find clips on both sides of a split: in two names of one folder, as equal files, or as cuts of a recording."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np

from dataset.making.shards.shard_writer import file_sha256
from dataset.making.split_folders import SplitFolder
from dataset.making.splits.recordings import group_by_name
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
    splits = _distinct(splits)
    by_content: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for split, content, path in _perhaps_same(splits):
        by_content[content].append((split, path))
    equal: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)
    for paths in by_content.values():
        for (first, one), (second, two) in combinations(paths, 2):
            if first != second:
                equal[splits[first].name, splits[second].name].append((one, two))
    for names, pairs in equal.items():
        (one, two), ids = pairs[0], {one.stem for one, _ in pairs}
        example = f"such as {printable(f'{names[0]}/{one.parent.name}/{one.name}')} and "
        example += printable(f"{names[1]}/{two.parent.name}/{two.name}")
        clips = count_text(len(ids), "clip")
        yield f"{clips} of {names[0]} and of {names[1]} have files of the same content, {example}"


def _perhaps_same(splits: Sequence[SplitFolder]) -> Iterator[tuple[int, int, Path]]:
    """The files whose content is that of a file in another split: number of the split, hash of the content, path.

    Of millions of files numbers are kept, no paths. Those of a size follow each other.
    """
    if len(splits) < 2:
        return

    def files() -> Iterator[tuple[int, Path]]:
        return ((k, path) for k, split in enumerate(splits) for clip in split.ids for path in split.files(clip))

    split_of = np.fromiter((k for k, _ in files()), np.uint16)
    sizes = np.fromiter((path.stat().st_size if path.is_file() else -1 for _, path in files()), np.int64)
    is_wanted = _is_in_two(sizes, split_of) & (sizes >= 0)
    contents = np.zeros(len(sizes), np.uint64)
    for n, (_, path) in enumerate(files()):
        if is_wanted[n]:
            contents[n] = _checksum(path)
    is_wanted &= _is_in_two(contents, split_of)
    found = [(k, int(contents[n]), path) for n, (k, path) in enumerate(files()) if is_wanted[n]]
    _, first, of_size = np.unique(sizes, return_index=True, return_inverse=True)
    order = np.argsort(first[of_size[is_wanted]], kind="stable")
    yield from (found[n] for n in order.tolist())


def _is_in_two(numbers: np.ndarray, split_of: np.ndarray) -> np.ndarray:
    """Whether each number, of a file, is also that of a file in another split; both arrays have an entry a file."""
    _, group = np.unique(numbers, return_inverse=True)
    lowest, highest = np.full(group.max(initial=-1) + 1, len(split_of)), np.zeros(group.max(initial=-1) + 1, np.int64)
    np.minimum.at(lowest, group, split_of)
    np.maximum.at(highest, group, split_of)
    return (lowest != highest)[group]


def _checksum(path: Path) -> int:
    """Hash of the content of a file, 8 bytes; one of its own if it can't be read."""
    try:
        return int(file_sha256(path)[:16], 16)
    except OSError:
        return int(sha256(os.fsencode(path)).hexdigest()[:16], 16)


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
