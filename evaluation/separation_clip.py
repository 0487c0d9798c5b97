"""What a PixelPlayer takes apart: a video with its sound, or pictures and a sound that a program holds."""

from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from dataset.making.clips.cut import cut_clip
from dataset.reading.audio import read_padded, resample_part
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import MediaError
from dataset.reading.images import resize_square
from dataset.reading.media import stream_audio, stream_samples
from dataset.reading.wav import write_wav
from utils.errors import UserError

MAX_HEIGHT = 360  # of the frames that are kept of a video, pixels


class SoundingClip(Protocol):
    """Frames and a sound at any time: `dataset.reading.clip_reader.ClipReader`, or `HeldClip`.

    Attributes:
        native_rate, native_samples: of the sound, Hz and samples.
        sound_seconds: its length.
        video_end: the latest time at which a frame is shown, seconds.
    """

    native_rate: int
    native_samples: int
    sound_seconds: float
    video_end: float

    def frames(self, times: list[float], size: int) -> np.ndarray:
        """Get the frames shown at ascending `times`, seconds, as squares of `size`: (N, size, size, 3) uint8 RGB."""
        ...

    def waveform(self, start: int, count: int, rate: int) -> np.ndarray:
        """Get `count` samples of the sound from sample `start` on, both counted at `rate`, Hz: (count,) int16."""
        ...


class HeldClip:
    """Pictures and a sound in memory: picture k of N is shown in the k-th N-th of the sound.

    Args:
        pictures: one or more, RGB, of any size.
        samples: (n,) float32 in -1..1, the sound.
        rate: of the sound, Hz.

    Attributes:
        native_rate, native_samples, sound_seconds, video_end: see `SoundingClip`.
    """

    def __init__(self, pictures: Sequence[Image.Image], samples: np.ndarray, rate: int) -> None:
        self._pictures, self._samples = pictures, samples
        self.native_rate, self.native_samples = rate, len(samples)
        self.sound_seconds = self.video_end = len(samples) / rate

    def frames(self, times: list[float], size: int) -> np.ndarray:
        """Get the pictures shown at `times`, seconds, as squares of `size` pixels: (N, size, size, 3) uint8 RGB."""
        count = len(self._pictures)
        shown = [min(int(time / self.sound_seconds * count), count - 1) for time in times]
        squares = {k: resize_square(self._pictures[k], size) for k in set(shown)}
        return np.stack([squares[k] for k in shown])

    def waveform(self, start: int, count: int, rate: int) -> np.ndarray:
        """Get `count` samples of the sound from sample `start` on, both counted at `rate`, Hz: (count,) int16."""
        return resample_part(partial(read_padded, self._samples), start, count, self.native_rate, rate)


def open_video(video: Path, sound: Path | None, folder: Path) -> ClipReader:
    """Convert a video and its sound to a clip of the dataset format.

    Args:
        video: any video of at least one second.
        sound: wav or video with its sound; None: the video's own.
        folder: for the clip's files.

    Raises:
        UserError: a file can't be read, has no frames or no sound, is shorter than a second, or silent.
    """
    source = sound or video
    mp4, wav = folder / "clip.mp4", folder / "clip.wav"
    try:
        # The frames end with the shorter of the two, as a clip of a dataset; the sound is kept as it is.
        cut_clip(video, source, 0.0, inf, mp4, wav, MAX_HEIGHT, fps=0)
        _, _, rate = next(stream_samples(source, 0.0, inf))
        write_wav(wav, stream_audio(source, rate=rate), rate)
        clip = ClipReader(video.stem, mp4, wav)
        with clip:
            clip.sound(0.0, rate)
    except MediaError as error:
        if error.kind == "silent":
            raise UserError(f"{source} is silent from start to end: there is nothing to separate") from None
        hint = ": pass its sound with --sound FILE" if error.kind == "no sound" and not sound else ""
        raise UserError(f"{error}{hint}") from None
    return clip
