"""Measure on a fixed list of clips, in its order: `eval.py --ids FILE`."""

import hashlib
import sys
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.lists.list_index import ListIndex, clips_on_disk
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list
from dataset.making.text import count_text
from dataset.reading.chosen_clips import ChosenClips
from dataset.reading.reader import ClipDataset
from utils.errors import UserError


class Choice(NamedTuple):
    """What is reported of the choice of some clips of a dataset.

    Attributes:
        values: for metrics.json.
        notes: sentences.
    """

    values: dict[str, Any]
    notes: list[str]


class ClipList(NamedTuple):
    """Clips on which an evaluation measures.

    Attributes:
        path: of the list.
        segments: its clips, each once, in its order.
    """

    path: Path
    segments: list[Segment]

    @property
    def sha256(self) -> str:
        """The checksum of its clips and their order, whatever the list's format: VIDEO, or VIDEO_START_END, a line."""
        names = (one.video if one.end == inf else f"{one.video}_{one.start:.3f}_{one.end:.3f}" for one in self.segments)
        return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def read_clip_list(path: Path, split: str) -> ClipList:
    """Read the clips to measure on.

    Args:
        path: of a list of videos, of any format of `dataset.making.lists.list_formats`.
        split: what is measured; of a list that has parts, only this one is taken.

    Raises:
        UserError: the list can't be read, has a clip twice, or no clip for this split.
    """
    found = read_list(path)
    print(found.describe())
    if found.repeated:
        lines = count_text(len(found.repeated), "repeated line")
        raise UserError(f"{path} has {found.repeated[0]} twice: remove its {lines}")
    segments = [segment for segment in clips_on_disk(found) if segment.part in ("", split)]
    if not segments:
        raise UserError(f"{path} has no clip of part {split}: measure on the --split that it lists")
    return ClipList(path, segments)


def choose_clips(clips: ClipDataset, wanted: ClipList) -> tuple[ChosenClips, dict[str, str | int]]:
    """Choose the clips of a list from a split.

    Args:
        clips: of the split.
        wanted: the list.

    Returns:
        The clips in the order of the list, and what metrics.json says of it: {"file", "clips", "missing", "sha256"}.

    Raises:
        UserError: the split has none of the clips, or several that fit one row of the list equally well.
    """
    chosen, unreadable, about = match_list(clips.ids, clips.skipped, clips.folder, wanted)
    numbers = {clip: k for k, clip in enumerate(clips.ids)}
    skipped = {clip: clips.skipped[clip] for clip in unreadable}
    return ChosenClips(clips, [numbers[clip] for clip in chosen], skipped), about


def match_list(
    ids: Iterable[str], skipped: Iterable[str], folder: Path | str, wanted: ClipList
) -> tuple[list[str], list[str], dict[str, str | int]]:
    """Find the clips of a list among those of a dataset; a warning counts those that are missing.

    Args:
        ids: of its clips.
        skipped: ids of its clips that can't be read.
        folder: where it lies, for messages.
        wanted: the list.

    Returns:
        The ids of the list in its order; those that can't be read; what metrics.json says of the list.

    Raises:
        UserError: as `choose_clips`.
    """
    index = ListIndex(wanted.segments)
    found, unreadable = _match(ids, index, wanted.path), _match(skipped, index, wanted.path)
    chosen = [found[row] for segment in wanted.segments if (row := segment[:3]) in found]
    absent = [segment for segment in wanted.segments if segment[:3] not in found and segment[:3] not in unreadable]
    such_as = f", such as {absent[0].video}" if absent else ""
    if not chosen:
        raise UserError(f"{folder} has none of the clips of {wanted.path}{such_as}: give the list of this dataset")
    if absent:
        print(
            f"warning: {folder} lacks {len(absent)} of the {count_text(len(wanted.segments), 'clip')} of "
            f"{wanted.path}{such_as}: the others are measured",
            file=sys.stderr,
        )
    about: dict[str, str | int] = {"file": wanted.path.name, "clips": len(wanted.segments), "missing": len(absent)}
    return chosen, list(unreadable.values()), about | {"sha256": wanted.sha256}


def _match(ids: Iterable[str], index: ListIndex, path: Path) -> dict[tuple[str, float, float], str]:
    """{row of the list: clip that it means}, of clips whose names say which row is theirs."""
    fitting: dict[tuple[str, float, float], list[tuple[bool, str]]] = {}
    for clip in ids:
        match = index.find(clip)
        if match is not None and len(match.segments) == 1:
            fitting.setdefault(match.segments[0][:3], []).append((match.how != "clip", clip))
    found = {}
    for row, those in fitting.items():
        those.sort()
        if len(those) > 1 and those[0][0] == those[1][0]:
            both = f"{those[0][1]} and {those[1][1]}"
            raise UserError(f"a line of {path} fits several clips, {both}: give the clips' own names, one a line")
        found[row] = those[0][1]
    return found


def list_note(about: dict[str, str | int]) -> str:
    """Say in one sentence which list was measured on.

    Args:
        about: what metrics.json says of it, of `choose_clips`.
    """
    missing = f", {about['missing']} of which the split lacks" if about["missing"] else ""
    clips = count_text(int(about["clips"]), "clip")
    return f"only the clips of the list {about['file']} are measured: {clips}{missing}, SHA-256 {about['sha256']}"
