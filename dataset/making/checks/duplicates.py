"""Find clips that show and sound the same under two ids, and refuse what was found where that is asked for."""

import filecmp
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from dataset.making.checks.clip_checks import CheckResult
from dataset.making.checks.findings import MESSAGES, Finding
from dataset.making.split_folders import SplitFolder
from dataset.making.text import count_text, printable

Key = tuple[str, str]  # split and clip
KEPT_FIRST = ("test", "val", "train")  # a clip that is measured on is kept: a copy of it in train leaks


def find_duplicates(splits: Sequence[SplitFolder], results: Mapping[Key, CheckResult]) -> dict[Key, Key]:
    """Find the clips that repeat another one: of each set of equal clips all but one.

    The one that is kept is in test if one is, else in val, else in train, and is the first there by its id; one that
    isn't ok, as vid2genre.json doesn't list it, is kept only where no other is.

    Args:
        splits: of the dataset. Of two names of one folder the second one is left out.
        results: of their clips; those whose digest no other one has may be missing.

    Returns:
        {(split, clip): the one that it repeats}.
    """
    rank = {name: k for k, name in enumerate(KEPT_FIRST)}
    distinct = [
        split
        for k, split in enumerate(splits)
        if not any(os.path.samefile(split.folder, other.folder) for other in splits[:k])
    ]
    ranked = sorted(distinct, key=lambda split: rank.get(split.name, len(rank)))
    keys = [key for split in ranked for clip in split.ids if (key := (split.name, clip)) in results]
    by_digest: dict[str, list[Key]] = defaultdict(list)
    for key in sorted(keys, key=lambda key: results[key].kind != "ok"):
        if digest := results[key].digest:
            by_digest[digest].append(key)
    return {key: first for first, *others in by_digest.values() for key in others}


def with_duplicate(result: CheckResult, twin: Key) -> CheckResult:
    """Add to a result that the clip is a duplicate.

    Args:
        result: of the clip.
        twin: the clip that it repeats, of `find_duplicates`.
    """
    finding = Finding("duplicate", f"{MESSAGES['duplicate']} {twin[0]}/{twin[1]}")
    return result._replace(findings=(*result.findings, finding))


def refuse(result: CheckResult, kinds: Collection[str]) -> CheckResult:
    """Refuse a clip that is ok and in which one of `kinds` was found: the first one is its kind.

    Args:
        result: of the clip.
        kinds: of `findings.FINDING_KINDS`.
    """
    found = next((finding for finding in result.findings if finding.kind in kinds), None)
    if found is None or result.kind != "ok":
        return result
    return result._replace(kind=found.kind, message=found.message)


def describe_leaking(splits: Sequence[SplitFolder], twins: Mapping[Key, Key]) -> Iterator[str]:
    """Describe the duplicates across splits whose files differ; equal files are reported by `leaks.find_leaks`.

    Args:
        splits: of the dataset.
        twins: of `find_duplicates`.
    """
    folders = {split.name: split for split in splits}
    leaking: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for (split, clip), (other, twin) in twins.items():
        pairs = zip(folders[split].files(clip), folders[other].files(twin), strict=True)
        if split != other and not any(_is_equal_file(*map(str, pair)) for pair in pairs):
            leaking[split, other].append((clip, twin))
    for (split, other), clips in leaking.items():
        have = "has" if len(clips) == 1 else "have"
        example = printable(f"{split}/{clips[0][0]} and {other}/{clips[0][1]}")
        what = f"the same picture and sound as clips of {other} in files that differ"
        yield f"{count_text(len(clips), 'clip')} of {split} {have} {what}, such as {example}"


def _is_equal_file(one: str, two: str) -> bool:
    return os.path.isfile(one) and os.path.isfile(two) and filecmp.cmp(one, two, shallow=False)
