"""Peaks of maps and annotated boxes. Pure functions on arrays.

A map is (h, w) float, larger where the sound is believed to come from. Locations are (x, y) in 0..1 of the frame, from
its top left corner; boxes are (x0, y0, x1, y1) in the same units.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Box = Sequence[float]
Entry = Mapping[str, Any]  # of boxes.json: {"box": Box, "sounding": bool, ...}


def map_peaks(maps: np.ndarray) -> np.ndarray:
    """Find the largest value of each map: `maps` (N, h, w) -> (N, 2) float64 locations, the first of equal ones.

    Give the maps as the net computes them: interpolated, the plateau between a location at the border and the frame's
    edge has the largest value too, and the peak would lie on the edge.
    """
    height, width = maps.shape[1:]
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), (height, width))
    return np.stack([(column + 0.5) / width, (row + 0.5) / height], 1)


def is_in_box(location: Sequence[float] | np.ndarray, boxes: Sequence[Box]) -> bool:
    """Check whether a `location` (x, y) lies in one of the `boxes`, edges included."""
    return any(x0 <= location[0] <= x1 and y0 <= location[1] <= y1 for x0, y0, x1, y1 in boxes)


def box_mask(boxes: Sequence[Box], size: int) -> np.ndarray:
    """Mark the pixels whose center lies in one of the `boxes`: (`size`, `size`) float32, 0 or 1."""
    centers = (np.arange(size) + 0.5) / size
    mask = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes:
        columns, rows = (centers >= x0) & (centers <= x1), (centers >= y0) & (centers <= y1)
        mask |= rows[:, None] & columns[None]
    return mask.astype(np.float32)


class PeakHits(NamedTuple):
    """Where one location of each frame lies.

    on_sounding: (N,) bool, in the box of a sounding object.
    on_silent: (N,) bool, in the box of a silent object, and in none of a sounding object.
    """

    on_sounding: np.ndarray
    on_silent: np.ndarray


def find_hits(locations: np.ndarray, sounding: Sequence[Sequence[Box]], silent: Sequence[Sequence[Box]]) -> PeakHits:
    """Find out in which boxes locations lie.

    Args:
        locations: (N, 2), one of each frame.
        sounding, silent: the boxes of each frame.
    """
    on_sounding = np.array([is_in_box(*one) for one in zip(locations, sounding, strict=True)])
    on_silent = np.array([is_in_box(*one) for one in zip(locations, silent, strict=True)])
    return PeakHits(on_sounding, on_silent & ~on_sounding)
