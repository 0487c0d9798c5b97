"""Choose which clips and classes a report shows, by fixed rules: never by the results."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_CLASSES = 30  # rows of the tables by class


def evenly_spaced(count: int, most: int) -> list[int]:
    """Choose indices in equal steps, the first and the last among them.

    Args:
        count: of indices to choose from.
        most: indices to choose, at most.
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist() if count else []


def common_classes(labels: Sequence[Sequence[str]], most: int = MAX_CLASSES) -> list[str]:
    """List the most common classes, the most common first, ties by name.

    Args:
        labels: N lists of mids.
        most: classes to list, at most.
    """
    counts = Counter(label for clip_labels in labels for label in set(clip_labels))
    return sorted(counts, key=lambda label: (-counts[label], label))[:most]


def first_of_each_class(labels: Sequence[Sequence[str]], most: int) -> list[int]:
    """Choose the first clip of each class in the order of the split; clips in equal steps if there are no labels.

    Args:
        labels: N lists of mids.
        most: clips to choose, at most.

    Returns:
        Ascending indices.
    """
    first: dict[str, int] = {}
    for index, clip_labels in enumerate(labels):
        if clip_labels:
            first.setdefault(min(clip_labels), index)
    indices = sorted(first.values()) or list(range(len(labels)))
    return [indices[k] for k in evenly_spaced(len(indices), most)]
