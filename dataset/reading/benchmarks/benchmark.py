"""What all public benchmarks have in common: rows of a frame, a sound, and the region from which the sound comes.

A row that can't be read raises `ClipError`, as in `clips.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset.loading.loader import Key, Sample, SampleDataset, make_sample
from dataset.reading.audio import SOUND_SECONDS, AudioReader
from dataset.reading.errors import ClipError, MediaError, OnError
from dataset.reading.images import open_image
from utils.errors import UserError

STREAMED_WAV_BYTES = 0x7FFFF000  # the length in the header of a wav that was written to a pipe is this or more, bytes
Classes = dict[str, tuple[str, ...]]  # {name of a clip: the classes of its sounds, () where none are known}
Choose = Callable[[Classes], list[str]]  # the clips of a benchmark -> those to measure on, in their order


class Row(NamedTuple):
    """A frame with one sound.

    Attributes:
        frame, wav, annotation: files.
        picture: name of the picture or video it is of; rows of the same one have the same name.
        classes: of the sound, () where it isn't known.
        time: of the frame in the sound, seconds; None: the middle of the sound.
    """

    frame: Path
    wav: Path
    annotation: Path
    picture: str
    classes: tuple[str, ...] = ()
    time: float | None = None


class Benchmark(ABC):
    """Frames, sounds and annotated regions; a subclass knows where they are.

    Args:
        root: path of the folder.
        rows: {id: row} of those that count, in the order to keep.
        on_error: "stop" raises at a row that lacks one of its files, or whose mask can't be read;
            "skip" leaves it out and lists it in `skipped`.

    Attributes:
        several_sounds: whether rows of the same picture are its several sounds, as opposed to frames of a video.
        has_masks: whether regions are outlines of objects, as opposed to boxes.
        ids: of the rows.
        rows: in the order of `ids`.
        boxes: list of (n, 4) float64 x0, y0, x1, y1 as fractions of the frame, in the order of `ids`.
        skipped: {id: reason}.
        dropped: number of invalid boxes: far outside of the frame, or empty once they are clipped to it.
        failures: ids of the rows without a valid box: every map of theirs has failed.
        has_region: list of bool, rows with a region that a map can be held against, failures included.

    Raises:
        UserError: nothing is left, or on_error is "stop" and a row lacks one of its files (`ClipError`).
    """

    several_sounds = False
    has_masks = False

    def __init__(self, root: Path, rows: Mapping[str, Row], on_error: OnError) -> None:
        self.root, self.dropped = root, 0
        self.skipped: dict[str, str] = {}
        self.failures: list[str] = []
        kept = {}
        for clip, row in rows.items():
            try:
                self._check(clip, row)
                kept[clip] = row
            except ClipError as error:
                if on_error == "stop":
                    raise
                self.skipped[clip] = error.problem
        self.ids, self.rows = list(kept), list(kept.values())
        self.boxes: list[np.ndarray] = [np.empty((0, 4)) for _ in kept]
        self.has_region = [True for _ in kept]
        if not self.ids:
            raise UserError(f"{root} has no annotated clip with its frame and sound: check the folder's layout")

    def __len__(self) -> int:
        return len(self.ids)

    def _check(self, clip: str, row: Row) -> None:
        """Raise a `ClipError` if a row lacks one of its files."""
        files = dict.fromkeys((row.frame, row.wav, row.annotation))
        missing = " and ".join(str(path) for path in files if not path.is_file())
        if missing:
            hint = "add it, or pass --data.on_error skip"
            raise ClipError(clip, "missing", self.root, f"lacks {missing} of clip {clip}", hint)

    @abstractmethod
    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw the map of where the sounding objects are: (size, size) float32 in 0..1.

        Args:
            index: of the row.
            size: of the map, pixels.
        """

    def frame(self, index: int, size: int) -> np.ndarray:
        """Read the whole frame of a row, resized to a square whatever its shape: (size, size, 3) uint8 RGB.

        Args:
            index: of the row.
            size: pixels.
        """
        try:
            return np.array(open_image(self.rows[index].frame).resize((size, size), Image.Resampling.BICUBIC))
        except MediaError as error:
            raise error.for_clip(self.ids[index]) from None

    def sound(self, index: int, rate: int, seconds: float = SOUND_SECONDS) -> np.ndarray:
        """Read the sound around a frame's time, by default the middle of the wav: (rate,) int16 mono for a second.

        See `dataset.reading.audio.sound_samples`. A truncated wav is refused: its middle is no longer the frame's.
        A silent one is read: in a test silence is a sound.

        Args:
            index: of the row.
            rate: Hz.
            seconds: length of the sound.
        """
        clip, row = self.ids[index], self.rows[index]
        with AudioReader(clip, row.wav, seconds) as wav:
            wav.takes_silence = True
            if _is_truncated_wav(row.wav):
                raise ClipError(clip, "damaged", row.wav, "is truncated: it ends before its header says")
            return wav.sound(wav.sound_seconds / 2 if row.time is None else row.time, rate)


class BenchmarkDataset(SampleDataset):
    """A benchmark's rows for `dataset.loading.loader.make_loader`: `dataset[epoch, index]` is a sample.

    Args:
        benchmark: the frames and sounds.
        size: side of the frames, pixels.
        rate: sample rate of the sounds, Hz.
        seconds: length of the sounds.
    """

    def __init__(self, benchmark: Benchmark, size: int, rate: int, seconds: float = SOUND_SECONDS) -> None:
        self.benchmark, self.size, self.rate, self.seconds = benchmark, size, rate, seconds

    def __len__(self) -> int:
        return len(self.benchmark)

    def __getitem__(self, key: Key) -> Sample:
        _, index = key
        try:
            sound = self.benchmark.sound(index, self.rate, self.seconds)
            return make_sample(self.benchmark.frame(index, self.size), sound, index)
        except ClipError as error:
            return {"index": index, "clip": error.clip, "error": str(error)}


def benchmark_folder(root: Path | str, form: str) -> Path:
    """Check that the folder of a benchmark exists.

    Args:
        root: the folder.
        form: what it must hold, for the message.

    Raises:
        UserError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no benchmark folder {root}: it must hold {form}")
    return root


def chosen_clips(classes: Classes, choose: Choose | None) -> list[str]:
    """Choose the clips to measure on: all of `classes`, sorted, or those that `choose` gives."""
    in_order = {clip: classes[clip] for clip in sorted(classes)}
    return list(in_order) if choose is None else choose(in_order)


def _is_truncated_wav(path: Path) -> bool:
    """Whether a wav is shorter than its first bytes say, as after a partial copy."""
    with open(path, "rb") as file:
        head = file.read(8)
    expected = int.from_bytes(head[4:8], "little") + 8
    return head[:4] == b"RIFF" and expected < STREAMED_WAV_BYTES and expected > path.stat().st_size
