"""Benchmarks whose regions are boxes."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataset.reading.benchmarks.benchmark import Benchmark, Row
from dataset.reading.errors import OnError

MAX_OVERSHOOT = 1.0  # a side farther outside of the frame, in frames, is invalid: some are -2^63 pixels


class BoxBenchmark(Benchmark):
    """Boxes of sounding objects; a subclass reads them.

    A row without a valid box stays: no map can find its region, so each has a cIoU of 0. That is what the published
    evaluations count, too. Such rows are in `failures`.

    Args:
        root, rows, on_error: as of `Benchmark`.

    Raises:
        UserError: see `Benchmark`.
    """

    def __init__(self, root: Path, rows: Mapping[str, Row], on_error: OnError) -> None:
        super().__init__(root, rows, on_error)
        for index, clip in enumerate(self.ids):
            annotated = self._read_boxes(clip)
            self.boxes[index] = clean_boxes(annotated)
            self.dropped += len(annotated) - len(self.boxes[index])
            if not len(self.boxes[index]):
                self.failures.append(clip)

    @abstractmethod
    def _read_boxes(self, clip: str) -> list[list[float]]:
        """A row's boxes as annotated: lists of x0, y0, x1, y1 as fractions of the frame."""

    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw 1 where a box is, else 0: (size, size) float32.

        Args:
            index: of the row.
            size: of the map, pixels.
        """
        return np.minimum(self.count_boxes(index, size), 1)

    def count_boxes(self, index: int, size: int) -> np.ndarray:
        """Count how many boxes cover each pixel: (size, size) float32.

        Sides are rounded down, as the published evaluations do; a box thinner than a pixel still counts as one.

        Args:
            index: of the row.
            size: of the map, pixels.
        """
        out = np.zeros((size, size), np.float32)
        left, top, right, bottom = np.floor(self.boxes[index] * size).astype(int).T
        for x0, y0, x1, y1 in zip(left, top, np.maximum(right, left + 1), np.maximum(bottom, top + 1), strict=True):
            out[y0:y1, x0:x1] += 1
        return out


def clean_boxes(boxes: list[list[float]]) -> np.ndarray:
    """Clip `boxes`, lists of x0, y0, x1, y1, to the frame and drop the invalid ones: (n, 4) float64 in 0..1."""
    sides = np.array(boxes, np.float64).reshape(-1, 4)
    sides = sides[((sides >= -MAX_OVERSHOOT) & (sides <= 1 + MAX_OVERSHOOT)).all(1)].clip(0, 1)  # drops NaN, too
    return sides[(sides[:, 2] > sides[:, 0]) & (sides[:, 3] > sides[:, 1])]
