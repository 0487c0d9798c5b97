"""Audio of a clip: read a wav, resample, convert to mono and int16."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from math import ceil, gcd
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import soundfile
import soxr

from dataset.reading.errors import ClipError, MediaError, MediaErrorKind, error_reason
from dataset.reading.limits import refuse_rate, require_file

SOUND_SECONDS = 1.0  # length of the sound that belongs to a frame, unless data.seconds is another one (OtS sec. 3)
SAMPLE_RATE = 48000  # of the wav files that are written, Hz (OtS sec. 3)
INT16_SCALE = 32768.0  # int16 samples are fractions of this
SHORT_PART = 2048  # samples, of which one is hardly ever 0 where a sound isn't silent
BLOCK_SECONDS = 10  # a whole sound is read in parts of this length
QUALITY = "VHQ"  # of soxr: computed in double precision
FILTER_REACH = 160  # soxr's filter at this quality reaches over 146 periods of the lower rate at most, to either side


class AudioReader:
    """One clip's wav, open for reading in a `with` statement.

    Args:
        clip: the clip's id.
        audio: path of the wav.
        seconds: length of the sound that belongs to a frame.

    Attributes:
        clip, audio_file: as given. seconds: as given; first, last of a subclass follow from it.
        sound_seconds: length of the sound in the file, whatever its header states, seconds.
        native_rate, native_samples: sample rate of the file, Hz, and its number of samples per channel.
        takes_silence: whether a sound that is silent from start to end is read like any other. Nothing can be learned
            from one, so training refuses it; in a test silence is a sound that a net must know.

    Raises:
        ClipError: the file is missing, empty, damaged, silent, or shorter than `seconds`.
    """

    native_rate: int
    native_samples: int
    sound_seconds: float
    takes_silence = False

    def __init__(self, clip: str, audio: Path, seconds: float = SOUND_SECONDS) -> None:
        self.clip, self.audio_file, self.seconds = clip, audio, seconds
        self._wav: soundfile.SoundFile | None = None
        self._has_sound = False  # whether a sample that isn't 0 was found

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        if self._wav is not None:
            self._wav.close()

    def _open(self) -> None:
        self._require_file(self.audio_file)
        self._open_sound()

    def _require_file(self, path: Path) -> None:
        try:
            require_file(path)
        except MediaError as error:
            raise error.for_clip(self.clip) from None

    def _error(self, kind: MediaErrorKind, path: Path | str, reason: str) -> ClipError:
        return ClipError(self.clip, kind, path, reason)

    def _open_sound(self) -> None:
        try:
            # libsndfile has no words for what the system refuses, so it gets a file that is open already.
            self._wav = soundfile.SoundFile(os.open(self.audio_file, os.O_RDONLY))
        except OSError as error:
            raise self._error("damaged", self.audio_file, f"can't be opened ({error_reason(error)})") from error
        except soundfile.LibsndfileError as error:
            reason = f"can't be read as a wav ({error.error_string.strip('.')})"
            raise self._error("damaged", self.audio_file, reason) from error
        self.native_rate, self.native_samples = self._wav.samplerate, self._wav.frames
        try:
            refuse_rate(self.audio_file, self.native_rate)
        except MediaError as error:
            raise error.for_clip(self.clip) from None
        self.sound_seconds = self.native_samples / self.native_rate
        if self.sound_seconds < self.seconds:
            raise self._error("short", self.audio_file, too_short(self.sound_seconds, self.seconds))

    def sound(self, time: float, rate: int) -> np.ndarray:
        """Read the sound of length `seconds` centered at a time: (sound_samples(seconds, rate),) int16 mono.

        Near the ends of the clip it is moved inside it. A digitally silent second is real data; a silent clip is an
        error.

        Args:
            time: seconds.
            rate: sample rate of the result, Hz.
        """
        return self.waveform(*self._sound_part(time, rate), rate)

    def _sound_part(self, time: float, rate: int) -> tuple[int, int]:
        """The first sample of the sound centered at a time, and how many it has."""
        count = sound_samples(self.seconds, rate)
        return min(max(round((time - self.seconds / 2) * rate), 0), self.num_samples(rate) - count), count

    def full_waveform(self, rate: int) -> np.ndarray:
        """Read the whole sound of the clip at `rate`, Hz: (num_samples(rate),) int16 mono."""
        return np.concatenate(list(self.stream_waveform(rate)))

    def stream_waveform(self, rate: int) -> Iterator[np.ndarray]:
        """Read the whole sound of the clip at `rate`, Hz, in parts of BLOCK_SECONDS: (samples,) int16 mono each.

        Raises:
            ClipError: the clip is silent, or damaged.
        """
        count, block = self.num_samples(rate), BLOCK_SECONDS * rate
        for start in range(0, count, block):
            yield self.waveform(start, min(block, count - start), rate)

    def waveform(self, start: int, count: int, rate: int) -> np.ndarray:
        """Read a part of the sound: (count,) int16 mono.

        Args:
            start: the first sample, counted at `rate`.
            count: number of samples.
            rate: sample rate of the result, Hz.

        Raises:
            ClipError: the clip is silent, or damaged there.
        """
        if rate == self.native_rate:
            sound = self._read_int16(start, count)
        else:
            sound = resample_part(self._read_float, start, count, self.native_rate, rate)
        self._refuse_silence(sound)
        return sound

    def _refuse_silence(self, sound: np.ndarray) -> None:
        """Raise a ClipError if the clip is silent from start to end; `sound` is a part of it, which seldom is."""
        if not (self._has_sound or self.takes_silence):
            # A resampled sound may be louder than 1 where its samples round to 0: the samples of the file decide.
            self._has_sound = is_louder(sound[:SHORT_PART], 1) or is_louder(sound, 1) or self._find_sound()

    def num_samples(self, rate: int) -> int:
        """Count the samples of the whole sound at `rate`, Hz."""
        return self.native_samples * rate // self.native_rate

    def _read_int16(self, start: int, count: int) -> np.ndarray:
        """Samples at the native rate: (count,) int16 mono."""
        return to_int16(self._read_float(start, count))

    def _read_float(self, start: int, count: int) -> np.ndarray:
        """Samples at the native rate: (count,) float32 in -1..1, channels averaged; zeros outside of the file."""
        assert self._wav is not None
        lead = max(-start, 0)
        expected = min(count - lead, self._wav.frames - start - lead)
        try:
            self._wav.seek(start + lead)
            samples = self._wav.read(max(expected, 0), "float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = f"is damaged ({error.error_string.strip('.')})"
            raise self._error("damaged", self.audio_file, reason) from error
        if len(samples) < expected:
            raise self._error("damaged", self.audio_file, "is truncated: it ends before its header says")
        if not np.isfinite(samples).all():
            raise self._error("damaged", self.audio_file, "holds samples that are not numbers (NaN or infinite)")
        out = np.zeros(count, np.float32)
        out[lead : lead + len(samples)] = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
        return out

    def _find_sound(self) -> bool:
        """Check that the clip isn't silent: True, or a ClipError."""
        # As int16, as training gets it: channels that cancel out, or noise below 16 bits, are silence too.
        block = BLOCK_SECONDS * self.native_rate
        for start in range(0, self.native_samples, block):
            if self._read_int16(start, min(block, self.native_samples - start)).any():
                return True
        raise self._error("silent", self.audio_file, "is silent from start to end")


def is_louder(sound: np.ndarray, level: int) -> bool:
    """Check whether a sample of a `sound`, (samples,) int16, lies outside of -level..level; none does in an empty one.

    Args:
        sound: any number of samples.
        level: 0 or more.
    """
    return len(sound) > 0 and bool(sound.max() > level or sound.min() < -level)


def sound_samples(seconds: float, rate: int) -> int:
    """Count the whole samples at `rate`, Hz, in a sound of `seconds`: never more than a clip of this length has."""
    return int(seconds * rate + 1e-6)


def too_short(length: float, seconds: float) -> str:
    """Say that a sound of `length`, seconds, is shorter than the `seconds` of sound that belong to a frame."""
    need = "one second" if seconds == SOUND_SECONDS else f"data.seconds ({seconds:g})"
    return f"lasts {format_seconds(length)}, shorter than {need}"


def format_seconds(seconds: float) -> str:
    """Write a length of time so that it is never "0.00 s", and less than a second never "1.00 s": "0.25 s", "3 ms".

    Args:
        seconds: 0 or more.
    """
    if seconds < 0.1:
        return f"{1000 * seconds:.3g} ms"
    return f"{min(seconds, 0.99) if seconds < 1 else seconds:.2f} s"


def resample(samples: np.ndarray, native_rate: int, rate: int) -> np.ndarray:
    """Resample a sound: (samples,) float -> (ceil(samples * rate / native_rate),) float of the same type.

    The one resampler of this repository: soxr, which librosa uses too, at its highest quality, computed in double
    precision. Flat up to 0.91 of the lower Nyquist frequency, and nothing of what lies above 1 comes back.

    Args:
        samples: at `native_rate`; before and after them there is silence.
        native_rate, rate: Hz.
    """
    if rate == native_rate:
        return samples
    return _resample_part(partial(read_padded, samples), 0, -(-len(samples) * rate // native_rate), native_rate, rate)


def read_padded(samples: np.ndarray, start: int, count: int) -> np.ndarray:
    """Read a part of a sound in memory: (count,), zeros outside of it.

    Args:
        samples: (n,), the whole sound.
        start, count: first sample and number of samples of the part.
    """
    lead = min(max(-start, 0), count)
    part = samples[start + lead : max(start + count, 0)]
    return np.pad(part, (lead, count - lead - len(part)))


def resample_part(
    read: Callable[[int, int], np.ndarray], start: int, count: int, native_rate: int, rate: int
) -> np.ndarray:
    """Resample a part of a sound as if the whole had been resampled: (count,) int16.

    Args:
        read: maps (start, count) of native samples to (count,) float32 in -1..1; zeros outside of the sound.
        start, count: first sample and number of samples of the result, counted at `rate`.
        native_rate, rate: Hz.
    """
    if rate == native_rate:
        return to_int16(read(start, count))
    return to_int16(_resample_part(read, start, count, native_rate, rate))


def _resample_part(
    read: Callable[[int, int], np.ndarray], start: int, count: int, native_rate: int, rate: int
) -> np.ndarray:
    """Do what `resample_part` does, in float.

    Every second of the sound is resampled alone, with what lies before and after it. So a part is the same to the last
    bit as in the whole, whatever soxr does at the ends of its blocks, and a long sound needs no more memory.
    """
    up, down = _ratio(native_rate, rate)
    margin = filter_margin(native_rate, rate)
    skip = margin // down * up
    seconds = range(start // rate, max((start + count - 1) // rate, start // rate) + 1)
    sounds = (read(second * native_rate - margin, native_rate + 2 * margin) for second in seconds)
    pieces = [soxr.resample(sound, native_rate, rate, QUALITY)[skip : skip + rate] for sound in sounds]
    return np.concatenate(pieces)[start % rate : start % rate + count]


def filter_margin(native_rate: int, rate: int) -> int:
    """Count the native samples to read on either side of a second that is resampled, for its filter.

    A multiple of the samples that both rates have in common. At the start of a sound soxr needs it too: it errs where
    no silence comes before.

    Args:
        native_rate, rate: Hz.
    """
    _, down = _ratio(native_rate, rate)
    return ceil(FILTER_REACH * max(native_rate / rate, 1) / down) * down


def _ratio(native_rate: int, rate: int) -> tuple[int, int]:
    """(up, down): rate / native_rate in lowest terms."""
    common = gcd(rate, native_rate)
    return rate // common, native_rate // common


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Convert float samples in -1..1 to int16, rounded to the nearest and clipped."""
    return np.clip(np.rint(samples * INT16_SCALE), -32768, 32767).astype(np.int16)


def to_mono(frame: av.AudioFrame) -> np.ndarray:
    """Average the channels of a decoded audio `frame`: (samples,) float32 in -1..1."""
    if frame.format.name.startswith("s64"):  # for which PyAV has no array
        (frame,) = av.AudioResampler(format="dblp").resample(frame)
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) if channels are interleaved
    values = values.reshape(len(frame.layout.channels), -1, order="C" if frame.format.is_planar else "F")
    if values.dtype.kind == "f":
        return values.mean(0, dtype=np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return (values.mean(0, dtype=np.float64) / half - (values.dtype.kind == "u")).astype(np.float32)
