"""Divide clips as lists say: a list with parts, such as VGGSound's, or one list for each part, such as AVE's."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from dataset.making.clips.find_videos import SourceVideo
from dataset.making.clips.import_clip import ClipSource
from dataset.making.left_out import LeftOut
from dataset.making.lists.list_index import ListIndex, Match, clips_on_disk
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list
from dataset.making.text import count_text, printable
from utils.errors import UserError
from utils.files import read_file

PARTS = ("train", "val", "test")
RANK = {part: rank for rank, part in enumerate(PARTS)}  # a clip of two lists goes to the last of its parts


class PartLists(NamedTuple):
    """What the lists of --by_list say.

    Attributes:
        title: the lists' names, for messages.
        segments: their clips, each with its part.
        lines: what to print: what each list was taken for.
    """

    title: str
    segments: list[Segment]
    lines: list[str]

    def fractions(self, val: float, test: float) -> dict[str, float]:
        """Compute which fraction of the training clips each split gets: parts that the lists have aren't drawn.

        Args:
            val: fraction for validation where no list has that part, 0..1.
            test: fraction for testing, likewise.

        Raises:
            UserError: nothing would be left for training.
        """
        listed = {segment.part for segment in self.segments}
        drawn = {part: share for part, share in (("val", val), ("test", test)) if part not in listed and share}
        rest = 1 - sum(drawn.values())
        if not all(0 <= share <= 1 for share in (val, test)) or rest <= 0:
            raise UserError(
                f"--val {val} and --test {test} must be fractions, 0..1, that leave some clips for training"
            )
        return {"train": rest, **drawn}

    def describe_drawn(self, fractions: Mapping[str, float]) -> str:
        """Say which parts are drawn and which are the lists', by the `fractions` of the training clips."""
        listed = {segment.part for segment in self.segments}
        lines = [f"from the list: {', '.join(part for part in PARTS if part in listed)}"]
        shares = ", ".join(f"{part} ({share:g} of the clips)" for part, share in fractions.items() if part != "train")
        if shares and "train" in listed:
            lines.append(f"drawn from the list's train by video: {shares}")
        unused = [f"--{part}" for part in ("val", "test") if part in listed]
        if unused:
            lines.append(f"not used: {', '.join(unused)}")
        return "; ".join(lines)


class ListedClips(NamedTuple):
    """The clips that lists name.

    Attributes:
        parts: {clip: "train", "val" or "test"}.
        labels: {clip: its labels in the lists}.
        videos: {clip: id of its video}.
        left_out: the other clips, and why.
        lines: what to print: what is missing on disk, and what is odd.
    """

    parts: dict[str, str]
    labels: dict[str, tuple[str, ...]]
    videos: dict[str, str]
    left_out: list[LeftOut]
    lines: list[str]


def read_parts(words: Sequence[str], format: str | None) -> PartLists:
    """Read the lists of --by_list.

    Args:
        words: the path of a list with parts, or PART=PATH, each.
        format: of the lists, see `read_list`; None: each is recognized.

    Raises:
        UserError: a list can't be read, has no parts, or has others than PART.
    """
    read = [_read_part(word, format) for word in words]
    title = ", ".join(path.name for path, _, _ in read)
    lines = [line for _, _, line in read]
    if len(read) == 1:
        return PartLists(title, read[0][1], lines)
    of_clip: dict[tuple[str, float, float], Segment] = {}
    moved = set()
    for segment in (segment for _, segments, _ in read for segment in segments):
        before = of_clip.setdefault(segment[:3], segment)
        if before is segment:
            continue
        if before.part != segment.part:
            moved.add(segment[:3])
        part = max(before.part, segment.part, key=lambda part: RANK.get(part, -1))
        labels = tuple(dict.fromkeys(before.labels + segment.labels))
        of_clip[segment[:3]] = segment._replace(part=part, labels=labels)
    if moved:
        are = "is" if len(moved) == 1 else "are"
        lines.append(
            f"warning: {count_text(len(moved), 'clip')} {are} in two of the lists: test goes before val, val before "
            f"train; such as {min(moved)[0]}"
        )
    return PartLists(title, list(of_clip.values()), lines)


def _read_part(word: str, format: str | None) -> tuple[Path, list[Segment], str]:
    """Read one list: its path, its clips, and what it was taken for."""
    part, equals, name = word.partition("=")
    path = Path(name if equals and part in PARTS else word)
    listed = read_list(path, format)
    segments = clips_on_disk(listed)
    parts = {segment.part for segment in segments}
    if path != Path(word):
        other = parts - {"", part}
        if other:
            raise UserError(f"{path} has parts of its own ({', '.join(sorted(other))}): give it without {part}=")
        return path, [segment._replace(part=part) for segment in segments], f"{part}: {listed.describe()}"
    if not parts - {""}:
        raise UserError(
            f"{path} has no parts, as it is taken for {listed.format}: give --by_list train={path} test=ANOTHER, or a "
            "list with parts"
        )
    return path, segments, listed.describe()


def list_paths(words: Iterable[str]) -> list[Path]:
    """List the files of `words`, each a path or PART=PATH."""
    return [Path(word.partition("=")[2] if word.partition("=")[0] in PARTS and "=" in word else word) for word in words]


def list_checksums(words: Sequence[str]) -> list[str]:
    """Name lists with their content, for split.json: a list that has changed is another setting.

    Args:
        words: paths, or PART=PATH.

    Raises:
        UserError: a file can't be read.
    """
    noted = []
    for word, path in zip(words, list_paths(words), strict=True):
        try:
            digest = hashlib.sha256(read_file(path)).hexdigest()
        except OSError as error:
            raise UserError(f"{path} can't be read ({error.strerror}): give a list of videos") from None
        part = f"{word.partition('=')[0]}=" if path != Path(word) else ""
        noted.append(f"{part}{path.name} sha256:{digest[:32]}")
    return noted


def choose_listed(
    lists: PartLists, sources: Mapping[str, ClipSource], found: Mapping[str, SourceVideo], known: Mapping[str, str]
) -> ListedClips:
    """Find the clips on disk in the lists.

    Args:
        lists: of --by_list.
        sources: {clip: what it is made of}.
        found: the videos by id.
        known: {clip: split} of earlier runs; their files may be gone.

    Raises:
        UserError: the lists name none of the clips.
    """
    index = ListIndex(lists.segments)
    result = ListedClips({}, {}, {}, [], [])
    taken: dict[int, str] = {}  # {id of a row: the clip that has it}
    seen: set[int] = set()
    clips = [*sorted(known), *sorted(sources.keys() - known.keys())]
    for clip in clips:
        source = sources.get(clip)
        match = index.find(clip) if source is None else index.find(found[source.origin].name, source.start, source.end)
        kind, reason = ("not listed", f"{lists.title} does not name it") if match is None else _refuse(match)
        is_file = source is None or source.end == inf
        if match is not None and not kind and is_file and _is_one_row(match):
            first = taken.setdefault(id(match.segments[0]), clip)
            if first != clip:
                kind, reason = "same clip", f"is the same clip of {lists.title} as {first}"
        if match is None or kind:
            if source is not None:
                result.left_out.append(LeftOut(clip, str(source.video), kind, reason))
            continue
        seen.update(map(id, match.segments))
        result.parts[clip], result.labels[clip] = match.segments[0].part, match.labels
        result.videos[clip] = match.video
    if clips and not result.parts:
        raise UserError(_describe_none(lists, clips[0], result.left_out))
    result.lines.extend(_describe_odd(lists, result, seen))
    return result


def _is_one_row(match: Match) -> bool:
    """Whether the file is a clip of the list, so that another file of the same row is there twice."""
    return match.how != "inside" and len(match.segments) == 1 and match.segments[0].end < inf


def _refuse(match: Match) -> tuple[str, str]:
    """Why a clip has no place by its `match`, as (kind, reason); ("", "") if it has one."""
    if len(match.segments) == 1 and match.segments[0].part:
        return "", ""
    parts = {segment.part for segment in match.segments}
    count = count_text(len(match.segments), "clip")
    if len(parts) > 1:
        named = " and ".join(sorted(part or "no part" for part in parts))
        return "several clips", f"the list has {count} of this video, in {named}: which it is is unknown"
    if parts == {""}:
        return "no part", "the list gives it no part"
    if match.how == "video" and len({frozenset(segment.labels) for segment in match.segments}) > 1:
        return "several clips", f"the list has {count} of this video with different labels: which it is is unknown"
    return "", ""


def _describe_none(lists: PartLists, clip: str, left_out: list[LeftOut]) -> str:
    """Say that no clip has a place, with an example."""
    reason = next((row.reason for row in left_out if row.id == clip), "it is not named")
    first = lists.segments[0]
    named = first.video if first.end == inf else f"{first.video} from {first.start:g} s to {first.end:g} s"
    return (
        f"{lists.title} gives none of the clips a part, such as {printable(clip)} ({reason}); the list's first is "
        f"{printable(named)}: give the list of these clips"
    )


def _describe_odd(lists: PartLists, listed: ListedClips, seen: set[int]) -> list[str]:
    """Count the listed clips that aren't on disk, and the videos that the lists put into two parts."""
    lines = []
    missing = Counter([segment.part for segment in lists.segments if id(segment) not in seen])
    if missing:
        counted = ", ".join(f"{part or 'no part'} {missing[part]:,}" for part in (*PARTS, "") if missing[part])
        lines.append(f"not on disk: {missing.total():,} of {len(lists.segments):,} of {lists.title} ({counted})")
    part_of: dict[str, str] = {}
    pairs = zip(listed.videos.values(), listed.parts.values(), strict=True)
    torn = sorted({video for video, part in pairs if part_of.setdefault(video, part) != part})
    if torn:
        has = "video has" if len(torn) == 1 else "videos have"
        lines.append(
            f"warning: {len(torn):,} {has} clips in two parts of {lists.title}, as the list says; such as "
            f"{printable(torn[0])}"
        )
    return lines
