"""Write wav files: 16-bit mono, part by part, so that memory does not grow with their length."""

import errno
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dataset.reading.audio import SAMPLE_RATE
from utils.files import atomic_write

WAV_HEADER = 44  # bytes of a wav before its samples
MAX_WAV_SAMPLES = (2**32 - WAV_HEADER) // 2  # a wav states its size in 32 bits


class WavWriter:
    """Writes the samples of a wav to an open file as they come; `finish` makes it a wav.

    Args:
        file: open for writing, empty; it is not closed.
        rate: Hz.

    Attributes:
        count: of the samples so far.
    """

    def __init__(self, file: BinaryIO, rate: int) -> None:
        self.count = 0
        self._file, self._rate = file, rate
        file.write(bytes(WAV_HEADER))

    def write(self, samples: np.ndarray) -> None:
        """Append samples.

        Args:
            samples: (n,) int16.

        Raises:
            OSError: the file can't be written, or the sound is longer than a wav can be.
        """
        self.count += len(samples)
        if self.count > MAX_WAV_SAMPLES:
            raise OSError(errno.EFBIG, f"a wav holds {MAX_WAV_SAMPLES / self._rate / 3600:.1f} hours at most")
        self._file.write(samples.astype("<i2").tobytes())

    def finish(self) -> None:
        """Write the header, which states the number of samples.

        Raises:
            OSError: the file can't be written.
        """
        self._file.seek(0)
        self._file.write(wav_header(self.count, self._rate))


def wav_header(count: int, rate: int) -> bytes:
    """Encode what a wav file holds before its samples, int16 mono: WAV_HEADER bytes.

    Args:
        count: of samples, at most MAX_WAV_SAMPLES.
        rate: Hz.
    """
    size = 2 * count
    riff = b"RIFF" + struct.pack("<I", WAV_HEADER - 8 + size) + b"WAVE"
    return riff + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", size)


def wav_bytes(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """Encode a sound as a wav file.

    Args:
        samples: (samples,) int16 mono.
        rate: Hz.
    """
    return wav_header(len(samples), rate) + samples.astype("<i2").tobytes()


def write_wav(path: Path | str, sound: np.ndarray | Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> int:
    """Write a sound to a wav file, atomically.

    Args:
        path: of the file; an older one is replaced.
        sound: (samples,) int16 mono, or its parts one after the other.
        rate: Hz.

    Returns:
        How many samples it has.

    Raises:
        OSError: the file can't be written, the disk is full, or the sound is longer than a wav can be.
    """
    with atomic_write(path) as file:
        writer = WavWriter(file, rate)
        for part in [sound] if isinstance(sound, np.ndarray) else sound:
            writer.write(part)
        writer.finish()
    return writer.count


def shorten_wav(path: Path | str, count: int) -> None:
    """Cut off the end of a wav file that `write_wav` wrote.

    Args:
        path: of the file; it is changed in place.
        count: how many samples remain.

    Raises:
        OSError: it can't be written.
    """
    with open(path, "r+b") as file:
        rate = struct.unpack("<I", file.read(WAV_HEADER)[24:28])[0]
        file.truncate(WAV_HEADER + 2 * count)
        file.seek(0)
        file.write(wav_header(count, rate))
