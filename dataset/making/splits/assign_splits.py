"""Divide clips into train, val and test by recording."""

import hashlib
from collections.abc import Mapping


def assign_splits(
    recording_of: Mapping[str, str], fractions: Mapping[str, float], seed: int, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Assign each clip to a split; clips of the same recording go to the same split.

    Recordings are taken in the order of a hash of their name and the seed, so neither the order of the clips nor the
    number of workers matters, and a few more clips change the split of a few others only. Each split gets a recording
    if there are enough.

    Args:
        recording_of: {clip: its recording}, of all clips.
        fractions: {split: fraction of the clips}, with "train" among them; it gets the rest.
        seed: of the order of the recordings.
        known: {clip: split} of an earlier call: kept, and other clips of these recordings follow.

    Returns:
        {clip: split}.
    """
    assigned = {clip: split for clip, split in (known or {}).items() if clip in recording_of}
    clips_of: dict[str, list[str]] = {}
    for clip in sorted(recording_of):
        clips_of.setdefault(recording_of[clip], []).append(clip)
    split_of = {recording_of[clip]: assigned[clip] for clip in sorted(assigned, reverse=True)}
    counts = dict.fromkeys(fractions, 0)
    for recording, split in split_of.items():
        counts[split] += len(clips_of[recording])
    free = sorted(clips_of.keys() - split_of.keys(), key=lambda name: _rank(name, seed))
    sizes = {recording: len(clips_of[recording]) for recording in free}
    for split in (name for name in fractions if name != "train"):
        others = sum(counts[name] == 0 for name in fractions if name != split)  # each needs a recording too
        chosen = _choose(sizes, fractions[split] * len(recording_of), counts[split], len(sizes) - others)
        counts[split] += sum(sizes.pop(recording) for recording in chosen)
        split_of |= dict.fromkeys(chosen, split)
    split_of |= dict.fromkeys(sizes, "train")
    return {clip: assigned.get(clip, split_of[recording]) for clip, recording in recording_of.items()}


def _choose(sizes: Mapping[str, int], target: float, count: int, most: int) -> list[str]:
    """Choose recordings for a split that has `count` clips so far.

    Args:
        sizes: {recording: number of clips}, in the order to try them.
        target: clips that the split should have.
        count: clips that it has.
        most: recordings that may be taken.
    """
    chosen: list[str] = []
    taken = count
    for recording, size in sizes.items():
        if len(chosen) < most and abs(taken + size - target) <= abs(taken - target):
            chosen.append(recording)
            taken += size
    if not taken and most > 0:
        chosen.append(min(sizes, key=lambda recording: sizes[recording]))  # the first of the smallest
    return chosen


def _rank(recording: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {recording}".encode("utf-8", "surrogateescape")).digest()
