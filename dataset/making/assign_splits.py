"""Divide clips into train, val and test by video."""

import random
from collections.abc import Iterable, Mapping

from dataset.making.segments import youtube_id


def assign_splits(
    clips: Iterable[str], fractions: Mapping[str, float], seed: int, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Assign each clip to a split at random; clips of the same video go to the same split.

    Args:
        clips: ids; the order doesn't matter.
        fractions: {split: fraction of the clips}, with "train" among them.
        seed: of the order in which videos are assigned.
        known: {clip: split} of an earlier call: kept, and other clips of these videos follow.

    Returns:
        {clip: split} of `clips` and `known`.
    """
    assigned = dict(known or {})
    clips_of_video: dict[str, list[str]] = {}
    for clip in sorted({*clips, *assigned}):
        clips_of_video.setdefault(youtube_id(clip), []).append(clip)
    total = sum(map(len, clips_of_video.values()))
    least = 1 if len(clips_of_video) >= len(fractions) else 0  # a few videos still fill every split
    vacant = {split: max(fraction * total, least) for split, fraction in fractions.items()}  # clips each split lacks
    vacant["train"] = total - sum(vacant[split] for split in fractions if split != "train")
    for split in assigned.values():
        vacant[split] -= 1
    videos = sorted(clips_of_video)
    random.Random(seed).shuffle(videos)
    for video in videos:
        splits = {assigned[clip] for clip in clips_of_video[video] if clip in assigned}
        split = splits.pop() if splits else max(vacant, key=lambda name: vacant[name])
        for clip in clips_of_video[video]:
            if clip not in assigned:
                assigned[clip] = split
                vacant[split] -= 1
    return assigned
