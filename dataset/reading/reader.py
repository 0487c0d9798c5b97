"""The interface of a dataset reader, and the list of readers: to train on another dataset, plug a reader in here.

A reader is a class with the members of `ClipDataset`, whose `open` gives an object with the members of `OpenClip`.
Add the class to `READERS`; nothing else needs to change. `dataset.reading.clips.SplitClips` has everything of
`ClipDataset` but the arguments of its constructor, `recognizes` and `open`. `dataset.reading.audio.AudioReader` has
everything of `OpenClip` that concerns the sound of a wav file: a subclass extends `_open`, adds the frames, and raises
`self._error(kind, path, reason)`. `dataset.reading.frame_reader.FrameReader` has the rest for decoded frames. Errors of
`dataset.reading.images.open_image` become the clip's by `for_clip`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dataset.reading.annotations import Box
from dataset.reading.clips import Clips
from dataset.reading.errors import OnError
from dataset.reading.picture_clips import PictureClips
from dataset.reading.settings import DataSettings
from dataset.reading.shards import ShardedClips


@runtime_checkable
class OpenClip(Protocol):
    """A clip that is open for reading.

    Times are seconds on one clock that frames and sound share; 0 is the first sample of the sound. Frames are RGB,
    the whole frame resized to a square whatever its shape. Sounds are mono int16 at any `rate`, Hz.

    Every method raises `ClipError` where the clip can't be read, and never returns anything instead. A sound
    that is digitally silent from start to end is an error too; a silent second of a clip that isn't silent is none.

    Attributes:
        clip: the clip's id.
        video_file, audio_file: what the frames and the sound are read from, for error messages; may be the same.
        first, last: the earliest and the latest time of a frame whose sound, `ClipDataset.seconds` of it, lies within
            the clip.
        video_end: the latest time at which a frame is shown.
    """

    clip: str
    video_file: Path
    audio_file: Path
    first: float
    last: float
    video_end: float

    def frame(self, time: float, size: int) -> np.ndarray:
        """Read the frame shown at `time`: (size, size, 3) uint8."""
        ...

    def frames(self, times: list[float], size: int, crop: float | None = None) -> np.ndarray:
        """Read the frames shown at ascending `times`: (len(times), size, size, 3) uint8.

        With `crop` None the whole frame is resized. Else a square of its shorter side is, at this position along its
        longer side, 0..1 (mix.frame_fit).
        """
        ...

    def frame_stack(self, time: float, count: int, size: int) -> np.ndarray:
        """Read `count` frames 0.04 s apart, with `time` in their middle, moved inside the clip as a whole at its ends.

        Returns (count, size, size, 3) uint8.
        """
        ...

    def sound(self, time: float, rate: int) -> np.ndarray:
        """Read the sound centered at `time`, moved inside the clip at its ends: (sound_samples(seconds, rate),) int16.

        See `dataset.reading.audio.sound_samples`: (rate,) for a second.
        """
        ...

    def waveform(self, start: int, count: int, rate: int) -> np.ndarray:
        """Read samples start..start + count of the sound at `rate`: (count,) int16."""
        ...

    def full_waveform(self, rate: int) -> np.ndarray:
        """Read the whole sound: (num_samples(rate),) int16."""
        ...

    def num_samples(self, rate: int) -> int:
        """Count the samples of the whole sound at `rate`."""
        ...


@runtime_checkable
class ClipDataset(Protocol):
    """The clips of one split, of which each can be opened. An index is a clip's position in `ids`.

    Args:
        root: the dataset's folder or URL, `data.root`.
        split: "train", "val" or "test".
        on_error: what to do with a clip that is known to be incomplete: "stop" raises its `ClipError`, "skip" lists
            it in `skipped`. A clip that turns out to be damaged raises its error when it is opened or read.

    Attributes:
        folder: what holds the split, for messages; the last part of its path is the split's name.
        ids: the clips' ids, sorted, never empty.
        labels: lists of AudioSet mids, in the order of `ids`; a list may be empty.
        boxes: {id: annotated objects}; clips without annotations are absent.
        skipped: {id: reason} of the clips that were left out.
        parallel_reads: how many clips a loader process should read at the same time: 1 for a local disk, more where
            most of the time is spent waiting for a server.
        seconds: length of the sound that belongs to a frame, 1 unless `open_split` sets data.seconds; clips that are
            opened have it, and a shorter clip is an error.

    Raises:
        UserError: from the constructor: there is no such dataset or split, it is empty, or its tables are invalid.
        ClipError: from the constructor, if on_error is "stop".
    """

    folder: Path
    ids: Sequence[str]
    labels: Sequence[list[str]]
    boxes: dict[str, list[Box]]
    skipped: dict[str, str]
    parallel_reads: int
    seconds: float

    def __init__(self, root: Path | str, split: str, on_error: OnError = "stop") -> None: ...

    @classmethod
    def recognizes(cls, root: Path | str) -> bool:
        """Check whether `root` has this reader's format, from its name and the names of its files only."""
        ...

    def check_settings(self, data: DataSettings) -> None:
        """Raise a `UserError` if a run's settings `data` ask for what this dataset doesn't hold."""
        ...

    def __len__(self) -> int: ...

    def open(self, index: int) -> AbstractContextManager[OpenClip]:
        """Open the clip at `index`: `with clips.open(index) as clip: clip.frame(1.5, 256)`.

        Several may be open at the same time, from several threads and processes. Opening must be cheap: training
        opens each clip once an epoch.
        """
        ...

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index`: another text after its files have changed."""
        ...

    def annotated_times(self, index: int) -> list[float]:
        """List the times, ascending seconds, at which sounding objects of the clip at `index` are annotated."""
        ...

    def boxes_at(self, index: int, time: float) -> list[Box]:
        """List the objects annotated in the frame of the clip at `index` that is shown at `time`, seconds."""
        ...


# The first that recognizes a root reads it.
READERS: list[type[ClipDataset]] = [ShardedClips, PictureClips, Clips]


def open_clips(root: Path | str, split: str, on_error: OnError = "stop") -> ClipDataset:
    """Open a split of a dataset, whatever its format.

    Args:
        root: the dataset's folder or URL.
        split: "train", "val" or "test".
        on_error: "stop" raises at a clip that is incomplete, "skip" lists it in `skipped`.

    Raises:
        UserError: see `ClipDataset`.
    """
    reader = next(reader for reader in READERS if reader.recognizes(root))
    return reader(root, split, on_error)


def open_split(data: DataSettings, split: str) -> ClipDataset:
    """Open a split for a run.

    Args:
        data: the run's settings, a `configs.schema.Data`.
        split: "train", "val" or "test".

    Raises:
        UserError: see `ClipDataset`; or the settings ask for what the dataset doesn't hold.
    """
    clips = open_clips(data.root, split, data.on_error)
    clips.check_settings(data)
    clips.seconds = data.seconds
    return clips
