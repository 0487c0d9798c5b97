"""Frames and sounds of files, on which an export is checked, and by which an int8 one is calibrated."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.reading.errors import MediaError
from dataset.reading.media_folder import find_media
from dataset.reading.moments import iter_moments
from evaluation.exporting.graphs import samples_of
from evaluation.trained_net import TrainedNet
from utils.errors import UserError

PER_FILE = 2  # moments that are taken of a file at most
HOP = 2.0  # between them, seconds


class RealInputs(NamedTuple):
    """Frames and sounds of files, in the order of the files.

    Attributes:
        frames: (N, S, S, 3) uint8, or (N, T, S, S, 3) for a net of several frames: a still.
        sounds: (M, samples) int16.
    """

    frames: np.ndarray
    sounds: np.ndarray

    def halves(self) -> tuple["RealInputs", "RealInputs"]:
        """Divide into two of different files, but for one file that may be in both."""
        n, m = len(self.frames) // 2, len(self.sounds) // 2
        return RealInputs(self.frames[:n], self.sounds[:m]), RealInputs(self.frames[n:], self.sounds[m:])


def read_inputs(net: TrainedNet, source: Path | None, count: int) -> RealInputs:
    """Read frames and sounds.

    Args:
        net: whose sizes they get.
        source: a folder or file, as of embed.py; None: the clips of data.root, of its first split that is there.
        count: of each, at most.

    Raises:
        UserError: there are no files with frames and sounds.
    """
    folder = source or _clips_of(net)
    data, rate = net.config.data, net.config.data.sample_rate
    frames: list[np.ndarray] = []
    sounds: list[np.ndarray] = []
    for item in find_media(folder)[0]:
        try:
            moments = iter_moments(item, data.resize_size, rate, HOP, True, seconds=samples_of(net) / rate)
            found = [moment for _, moment in zip(range(PER_FILE), moments, strict=False)]
        except MediaError:  # embed.py names such files; here others do as well
            continue
        frames += [moment.frame for moment in found if moment.frame is not None and len(frames) < count]
        sounds += [moment.sound for moment in found if moment.sound is not None and len(sounds) < count]
        if min(len(frames), len(sounds)) >= count:
            break
    if not frames or not sounds:
        missing = " and no ".join(name for name, found in (("frame", frames), ("sound", sounds)) if not found)
        raise UserError(
            f"{folder} has no {missing} that can be read: give --input DIR with videos, or pictures and sounds, on "
            "which the export is checked"
        )
    stacked = np.stack(frames[:count])
    if data.frames > 1:
        stacked = np.repeat(stacked[:, None], data.frames, 1)
    return RealInputs(stacked, np.stack(sounds[:count]))


def _clips_of(net: TrainedNet) -> Path:
    root = Path(net.config.data.root)
    for split in ("val", "test", "train"):
        if (root / split / "video").is_dir() or (root / split / "frames").is_dir():
            return root / split
    raise UserError(
        f"data.root is {root}, where no clips are: give --data.root DIR, or --input DIR with videos, or pictures and "
        "sounds, on which the export is checked"
    )
