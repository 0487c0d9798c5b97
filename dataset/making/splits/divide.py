"""Divide the clips of a folder: which fraction goes to which split, and the draw by recording."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from dataset.making.lists.segments import YOUTUBE_ID
from dataset.making.splits.assign_splits import assign_splits
from dataset.making.splits.recordings import NameRule, Recordings, group_by_name, group_by_option
from utils.errors import UserError


class Division(NamedTuple):
    """How the clips are divided.

    Attributes:
        recordings: of all clips.
        fractions: {split: fraction of the clips that are drawn}.
        seed: of the order of the recordings.
        fixed: {clip: split} of the clips that aren't drawn.
    """

    recordings: Recordings
    fractions: Mapping[str, float]
    seed: int
    fixed: Mapping[str, str]

    def draw(self, clips: Collection[str], known: Mapping[str, str], which: str = "") -> dict[str, str]:
        """Assign clips to splits.

        Args:
            clips: their ids.
            known: {clip: split} of earlier runs, which stays.
            which: the clips, for a message: "that passed the check ", or "".

        Raises:
            UserError: there are fewer recordings than splits to draw.
        """
        fixed = {clip: known.get(clip, self.fixed[clip]) for clip in sorted(clips) if clip in self.fixed}
        drawn = [clip for clip in clips if clip not in fixed]
        if fixed and not drawn:
            return fixed
        return fixed | draw_splits(self.recordings.only(drawn), self.fractions, self.seed, known, which)


def split_fractions(val: float, test: float) -> dict[str, float]:
    """Compute the fraction of clips of each split that gets any, for fractions `val` and `test`."""
    fractions = {"train": 1 - val - test, "val": val, "test": test}
    if not all(0 <= fraction <= 1 for fraction in fractions.values()) or not fractions["train"]:
        raise UserError(f"--val {val} and --test {test} must be fractions, 0..1, that leave some clips for training")
    return {split: fraction for split, fraction in fractions.items() if fraction}


def group_clips(
    origins: Mapping[str, str],
    names: Mapping[str, str],
    option: str | None,
    rule: NameRule | None,
    parts: int,
    listed: Mapping[str, str],
) -> Recordings:
    """Group the clips, also those of earlier runs, by recording.

    Args:
        origins: {clip: id of the video that it is made of}.
        names: {id of a video: name of its file}, of those that are there.
        option: the value of --group, or None.
        rule: of an earlier run.
        parts: number of splits.
        listed: {clip: its video} by a list: YouTube ids are recordings.
    """
    if option:
        grouped = group_by_option(sorted(set(origins.values())), option)
        return Recordings({clip: grouped.of[origin] for clip, origin in origins.items()}, grouped.rule, grouped.by)
    of = {clip: video for clip, video in listed.items() if YOUTUBE_ID.fullmatch(video)}
    others = sorted({origin for clip, origin in origins.items() if clip not in of})
    if not others and of:
        return Recordings(of, rule, "by the YouTube ids in the list")
    grouped = group_by_name({video: names.get(video, video) for video in others}, parts, rule)
    by = f"by the YouTube ids in the list, the others {grouped.by}" if of else grouped.by
    return Recordings({clip: of.get(clip) or grouped.of[origin] for clip, origin in origins.items()}, grouped.rule, by)


def draw_splits(
    recordings: Recordings, fractions: Mapping[str, float], seed: int, known: Mapping[str, str], which: str = ""
) -> dict[str, str]:
    """Assign clips to splits, see `assign_splits`, and refuse a split that would be empty.

    Args:
        recordings: of the clips.
        fractions: {split: fraction of the clips}.
        seed: of the order of the recordings.
        known: {clip: split} of earlier runs.
        which: the clips, for the message: "that passed the check ", or "".

    Raises:
        UserError: there are fewer recordings than splits.
    """
    split_of = assign_splits(recordings.of, fractions, seed, known)
    empty = [split for split in fractions if split not in split_of.values()]
    if empty:
        splits = ", ".join(fractions)
        cures = "add videos" if len(fractions) == 1 else "add videos, or do without a split (--val 0, --test 0)"
        if recordings.count < len(recordings.of):
            cures = f"{cures}, or tell recordings apart by --group"
        raise UserError(
            f"{recordings.describe()}: the recordings {which}are too few for {splits}, and {' and '.join(empty)} would "
            f"be empty; {cures}"
        )
    return split_of
