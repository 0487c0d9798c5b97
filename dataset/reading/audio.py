"""Audio of a clip: read a wav, resample, convert to mono and int16, write a wav."""

import io
from math import ceil, gcd
from pathlib import Path

import numpy as np
import soundfile

from dataset.reading.errors import ClipError

SOUND_SECONDS = 1.0  # length of the sound that belongs to a frame (OtS sec. 3)


class AudioReader:
    """One clip's wav, open for reading.

    Attributes:
        sound_seconds: the length of what is there, whatever the header promises, seconds.
        native_rate, native_samples: as the wav is, Hz and samples of a channel.

    Raises:
        ClipError: the file is missing, empty, damaged, silent, or shorter than a second.
    """

    def __init__(self, clip, audio):
        self.clip, self.audio_file = clip, audio
        self._wav = None

    def __enter__(self):
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._wav is not None:
            self._wav.close()

    def _open(self):
        self._check(self.audio_file)
        self._open_sound()

    def _check(self, path):
        if not path.is_file():
            raise self._error("missing", path, "is missing")
        if path.stat().st_size == 0:
            raise self._error("damaged", path, "is empty (0 bytes)")

    def _error(self, kind, path, reason):
        return ClipError(self.clip, kind, path, reason)

    def _open_sound(self):
        try:
            self._wav = soundfile.SoundFile(self.audio_file)
        except soundfile.LibsndfileError as error:
            raise self._error(
                "damaged", self.audio_file, f"can't be read as a wav ({error.error_string.strip('.')})"
            ) from error
        self.native_rate, self.native_samples = self._wav.samplerate, self._wav.frames
        self.sound_seconds = self.native_samples / self.native_rate
        if self.sound_seconds < SOUND_SECONDS:
            raise self._error("short", self.audio_file, f"lasts {self.sound_seconds:.2f} s, shorter than one second")

    def sound(self, time, rate):
        """The second of sound whose mid-point is `time`: (rate,) int16 mono; other rates are resampled.

        Near the ends of the clip the second is moved inside it. A digitally silent second is real data, a silent
        clip is an error.
        """
        start = min(max(round((time - SOUND_SECONDS / 2) * rate), 0), self.num_samples(rate) - rate)
        return self.waveform(start, rate, rate)

    def full_waveform(self, rate):
        """The whole sound of the clip: (samples,) int16 mono at `rate`."""
        return self.waveform(0, self.num_samples(rate), rate)

    def waveform(self, start, count, rate):
        """Samples start..start + count of the whole sound at `rate`: (count,) int16 mono. A silent clip is an error."""
        sound = self._resampled(start, count, rate)
        if not sound.any():
            self._refuse_silence()
        return sound

    def num_samples(self, rate):
        """Samples of the whole sound at `rate`."""
        return self.native_samples * rate // self.native_rate

    def _resampled(self, start, count, rate):
        """Samples start..start+count of the sound as if all of it had been resampled to `rate`."""
        if rate == self.native_rate:
            return self._as_it_is(start, count)
        return resample(self._read, start, count, self.native_rate, rate)

    def _as_it_is(self, start, count):
        """Native samples as (count,) int16."""
        return to_int16(self._read(start, count))

    def _read(self, start, count):
        """Native samples as (count,) float32 in -1..1, channels averaged; zeros outside the file."""
        lead = max(-start, 0)
        try:
            self._wav.seek(start + lead)
            found = self._wav.read(
                max(min(count - lead, self._wav.frames - start - lead), 0), "float32", always_2d=True
            )
        except soundfile.LibsndfileError as error:
            raise self._error("damaged", self.audio_file, f"is damaged ({error.error_string.strip('.')})") from error
        expected = min(count - lead, self._wav.frames - start - lead)
        if len(found) < expected:
            raise self._error("damaged", self.audio_file, "is truncated: it ends before its header says")
        if not np.isfinite(found).all():
            raise self._error("damaged", self.audio_file, "holds samples that are not numbers (NaN or infinite)")
        out = np.zeros(count, np.float32)
        out[lead : lead + len(found)] = found.mean(1) if found.shape[1] > 1 else found[:, 0]
        return out

    def _refuse_silence(self):
        # As the net would hear it: channels that cancel out, or a murmur below 16 bits, are silence too.
        if not self._as_it_is(0, self.native_samples).any():
            raise self._error("silent", self.audio_file, "is silent from start to end")


def resample(read, start, count, native_rate, rate):
    """Samples start..start+count of a sound as if all of it had been resampled to `rate`: (count,) int16.

    Args:
        read: callable (start, count) of native samples -> (count,) float32 in -1..1; zeros outside of the sound.
        native_rate, rate: Hz.
    """
    if rate == native_rate:
        return to_int16(read(start, count))
    from scipy.signal import resample_poly  # half a second to import: only another rate pays for it

    up, down = rate // gcd(rate, native_rate), native_rate // gcd(rate, native_rate)
    margin = filter_margin(native_rate, rate)
    first = (start // up) * down - margin  # native sample that falls on an output sample
    skip = margin // down * up + start % up
    native = read(first, ceil((skip + count) * down / up) + margin)
    return to_int16(resample_poly(native, up, down)[skip : skip + count])


def filter_margin(native_rate, rate):
    """Native samples that are read beyond what is resampled, on either side: the filter (10 periods of the lower
    rate) shall see real sound.
    """
    up, down = rate // gcd(rate, native_rate), native_rate // gcd(rate, native_rate)
    return ceil(10 * max(up, down) / up / down) * down


def to_int16(sound):
    return np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)


SAMPLE_RATE = 48000  # of the sound that is written, Hz (OtS sec. 3)


def write_wav(path, samples, rate=SAMPLE_RATE):
    """Write (samples,) int16 mono at `rate`, Hz.

    Raises:
        OSError: no room, or no right, to write there.
    """
    content = io.BytesIO()  # libsndfile doesn't tell of a full disk
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    Path(path).write_bytes(content.getvalue())


def to_mono(frame):
    """The samples of an audio frame, channels averaged: (samples,) float32 in -1..1."""
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels)
    values = values.reshape(len(frame.layout.channels), -1, order="C" if frame.format.is_planar else "F")
    if values.dtype.kind == "f":
        return values.mean(0, dtype=np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return (values.mean(0, dtype=np.float64) / half - (values.dtype.kind == "u")).astype(np.float32)
