"""Sound that is decoded block by block: blocks are placed by their time stamps, and only the last part is kept."""

from collections import deque
from collections.abc import Iterator
from math import inf
from pathlib import Path

import numpy as np

from dataset.reading.audio import filter_margin, resample_part
from dataset.reading.errors import MediaError

MAX_TIMESTAMP_JUMP = 0.0015  # time stamps of sound that jump by more mark a gap; matroska rounds them to 0.001, seconds
MAX_GAP = 600  # sound whose time stamps jump by more is damaged, seconds


class SoundBuffer:
    """The last part of a sound. Time stamps tell where a stretch of sound begins; within it samples are counted.

    Stamps are rounded, and every sample left out or repeated is a click. Gaps are silent. Where blocks overlap, the
    earlier one stays.

    Args:
        path: of the file, for messages.
        start, end: seconds; sample 0 is at `start`, and what lies after `end` is silent.

    Attributes:
        end: number of the sample after the last one; below 0 before the sound at `start` is reached.
    """

    def __init__(self, path: Path | str, start: float = 0.0, end: float = inf) -> None:
        self._path, self._start, self._length = path, start, end - start
        self._blocks: deque[tuple[int, np.ndarray]] = deque()  # each with the number of its first sample
        self.end = 0
        self._taken = 0  # seconds

    def add(self, time: float, samples: np.ndarray, rate: int) -> None:
        """Append a block.

        Args:
            time: when it begins, seconds.
            samples: (n,) float32, or (n, channels).
            rate: Hz, the same for all blocks.

        Raises:
            MediaError: it holds samples that aren't numbers, or is far from the block before it.
        """
        if not np.isfinite(samples).all():
            raise MediaError("damaged", self._path, "holds samples that are not numbers (NaN or infinite)")
        first = (time - self._start) * rate
        jump = first - self.end
        if jump > MAX_GAP * rate or (jump < -MAX_GAP * rate and self._blocks):
            times = f"from {self._start + self.end / rate:.2f} s to {time:.2f} s"
            raise MediaError("damaged", self._path, f"has time stamps that jump {times}")
        if not self._blocks:
            self.end = round(first)
        elif abs(jump) > MAX_TIMESTAMP_JUMP * rate:
            samples = samples[max(self.end - round(first), 0) :]
            self.end = max(self.end, round(first))
        if self._length < inf:
            last = round(self._length * rate)
            self.end = min(self.end, last)
            samples = samples[: last - self.end]
        self._blocks.append((self.end, samples))
        self.end += len(samples)

    def drop_before(self, number: int) -> None:
        """Forget the blocks that end before sample `number`."""
        while len(self._blocks) > 1 and self._blocks[1][0] <= number:
            self._blocks.popleft()

    def read(self, start: int, count: int) -> np.ndarray:
        """Read samples start..start + count: (count,) float32, or with channels; zeros outside of what is kept."""
        out = np.zeros((count, *(self._blocks[0][1].shape[1:] if self._blocks else ())), np.float32)
        for first, samples in self._blocks:
            low, high = max(start, first), min(start + count, first + len(samples))
            if low < high:
                out[low - start : high - start] = samples[low - first : high - first]
        return out

    def take_seconds(self, native_rate: int, rate: int, is_last: bool = False) -> Iterator[np.ndarray]:
        """Resample what has come since the last call, and forget it.

        Args:
            native_rate: of the blocks, Hz.
            rate: of the result, Hz.
            is_last: whether all blocks have come: the last second may be a part of one.

        Yields:
            (rate,) int16, or with channels, for each second that is complete.
        """
        margin = 0 if rate == native_rate else filter_margin(native_rate, rate)
        while self.end >= (self._taken + 1) * native_rate + margin:
            yield resample_part(self.read, self._taken * rate, rate, native_rate, rate)
            self._taken += 1
            self.drop_before(self._taken * native_rate - margin)
        total = -(-self.end * rate // native_rate) if is_last else 0  # rounded up
        for first in range(self._taken * rate, total, rate):
            yield resample_part(self.read, first, min(rate, total - first), native_rate, rate)
