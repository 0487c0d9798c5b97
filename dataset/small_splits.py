"""Say when a split has too few clips for its figures to mean much."""

from collections.abc import Mapping
from math import sqrt

ENOUGH_CLIPS = 100  # from here on the standard error of an accuracy is at most 0.05


def warn_of_small_splits(counts: Mapping[str, int]) -> str:
    """Say in one sentence which splits are too small to measure on, "" if none is.

    The standard error of a fraction p measured on n independent clips is sqrt(p (1 - p) / n), at most 0.5 / sqrt(n).

    Args:
        counts: {split: number of its clips, or of the recordings that they are cut from}; "train" is not measured on.
    """
    small = {split: count for split, count in counts.items() if split != "train" and 0 < count < ENOUGH_CLIPS}
    if not small:
        return ""
    named = " and ".join(f"{split} has {count} {'clip' if count == 1 else 'clips'}" for split, count in small.items())
    errors = " and ".join(f"±{0.5 / sqrt(count):.2f}" for count in dict.fromkeys(small.values()))
    return (
        f"{named}: an accuracy measured there has a standard error of up to {errors} (0.5 / sqrt(clips)); add clips, "
        "or average over splits of several seeds (data/train_val_split_small.py --seed)"
    )
