"""Measure how a clip's wav lies to the sound track of its mp4, by cross-correlation: its offset, and its speed.

Frames and sound track of an mp4 share one clock. Only parts of a long sound are compared: memory is bounded.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from dataset.reading.audio import INT16_SCALE, SAMPLE_RATE, AudioReader, resample
from dataset.reading.errors import MediaError
from dataset.reading.media import read_audio

COMPARE_RATE = 16000  # sample rate at which sounds are compared, Hz
MAX_OFFSET = 1.5  # largest offset that is looked for, seconds
SYNC_TOLERANCE = 0.002  # largest offset that counts as in sync, seconds
MIN_CORRELATION = 0.5  # two sounds with at least this correlation are the same
# How much higher the correlation must be at another offset than in sync: a steady tone correlates at many offsets.
MIN_CORRELATION_GAIN = 0.03
PART_SECONDS = 30.0  # of longer sounds, the first and the last part of this length are compared
MIN_HALF = 1.5  # shorter halves of a clip are not compared with each other, seconds
SEARCH_SECONDS, SEARCH_RATE = 8.0, 4000  # other speeds are tried on the beginning of a sound at this rate, Hz
MAX_DRIFT, DRIFT_STEP = 0.05, 0.001  # the largest error of a sound's speed that is looked for, and the steps, fractions
DISTINCT_SECONDS, MIN_DISTINCTION = (
    0.01,
    0.05,
)  # at offsets farther off than this, the correlation must be lower by this
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)  # usual ones, Hz


class Sync(NamedTuple):
    """How a sound lies to the same sound in another file.

    Attributes:
        offset: by how many seconds it is later, at its time 0.
        drift: by how many seconds it gets later with each second; 0 if its speed is right.
        rate: what its sample rate must be, Hz; 0 if it is right. Offset and drift are those at this rate.
    """

    offset: float
    drift: float = 0.0
    rate: int = 0

    def at(self, time: float) -> float:
        """Compute the offset at a `time`, seconds."""
        return self.offset + self.drift * time


def measure_sync(sound: AudioReader, video: Path) -> Sync | None:
    """Compare the wav of a clip with the sound track of its video.

    Args:
        sound: the clip, open.
        video: path of the video.

    Returns:
        None if it has no such track, or the two are not the same sound.
    """

    def read_wav(start: float, length: float) -> np.ndarray:
        first, count = round(start * COMPARE_RATE), round(length * COMPARE_RATE)
        return sound.waveform(first, count, COMPARE_RATE) / INT16_SCALE

    try:
        sync = _compare_parts(read_wav, partial(read_track, video), sound.sound_seconds)
        return sync or _find_speed(sound, read_wav, partial(read_track, video))
    except MediaError as error:
        if error.path != video:
            raise
        return None  # training doesn't read the track: damage of it is no fault of the clip


def read_track(video: Path, start: float, length: float) -> np.ndarray:
    """Read a part of the sound track of a video: (samples,) float at `COMPARE_RATE`.

    Args:
        video: path of the file.
        start, length: seconds.

    Raises:
        MediaError: see `dataset.reading.media.read_audio`.
    """
    return resample(read_audio(video, start, start + length) / INT16_SCALE, SAMPLE_RATE, COMPARE_RATE)


Reader = Callable[[float, float], np.ndarray]  # (start, length) in seconds to (samples,) at `COMPARE_RATE`


def _compare_parts(read_wav: Reader, read_track: Reader, seconds: float) -> Sync | None:
    """Compare two sounds as a whole, if they are short, and their beginnings with their ends."""
    is_short = seconds <= PART_SECONDS
    length = seconds / 2 if is_short else PART_SECONDS
    whole = offset_between(read_wav(0, seconds), read_track(0, seconds)) if is_short else None
    if length < MIN_HALF:
        return None if whole is None else Sync(whole)
    starts = (0.0, seconds - length)
    parts = [offset_between(read_wav(at, length), read_track(at, length), whole or 0.0) for at in starts]
    known = [part for part in parts if part is not None]
    if len(known) == 2 and abs(known[1] - known[0]) > SYNC_TOLERANCE:
        drift = (known[1] - known[0]) / (starts[1] - starts[0])
        return Sync(known[0] - drift * length / 2, drift)
    if whole is not None:
        return Sync(whole)
    return Sync(float(np.mean(known))) if known else None


def _find_speed(sound: AudioReader, read_wav: Reader, read_track: Reader) -> Sync | None:
    """Try other speeds: first those of other sample rates, as the header of a wav may state a wrong one, then any."""
    track = resample(read_track(0, SEARCH_SECONDS), COMPARE_RATE, SEARCH_RATE)
    longest = SEARCH_SECONDS * max(RATES) / sound.native_rate
    wav = resample(read_wav(0, min(longest, sound.sound_seconds)), COMPARE_RATE, SEARCH_RATE)

    def match(speed: float) -> tuple[float, float, float]:
        """(correlation, speed, offset) of the sound at a speed; a correlation of 0 if other offsets are as likely."""
        count = min(int(len(wav) / speed), round(SEARCH_SECONDS * SEARCH_RATE))
        scaled = np.interp(np.arange(count) * speed, np.arange(len(wav)), wav)
        lags, correlation = _correlate(scaled, track, SEARCH_RATE)
        best = int(np.argmax(correlation))
        others = correlation[np.abs(lags - lags[best]) > DISTINCT_SECONDS * SEARCH_RATE]
        is_distinct = correlation[best] > others.max(initial=0.0) + MIN_DISTINCTION
        return float(correlation[best]) if is_distinct else 0.0, speed, float(lags[best]) / SEARCH_RATE

    rates = [rate for rate in RATES if 0.2 < rate / sound.native_rate < 5 and rate != sound.native_rate]
    if rates:  # none is near 1 kHz
        best, _, offset, rate = max((*match(rate / sound.native_rate), rate) for rate in rates)
        if best >= MIN_CORRELATION:
            return Sync(offset, rate=rate)
    found = max(map(match, 1 + np.arange(-MAX_DRIFT, MAX_DRIFT, DRIFT_STEP)))
    found = max(map(match, found[1] + DRIFT_STEP * np.linspace(-1, 1, 21)))
    return Sync(found[2], drift=1 - 1 / found[1]) if found[0] >= MIN_CORRELATION else None


def offset_between(sound: np.ndarray, track: np.ndarray, expected: float = 0.0) -> float | None:
    """Find the offset at which the normalized cross-correlation of two sounds is largest.

    Args:
        sound: (samples,) float at `COMPARE_RATE`, from time 0 on.
        track: the same of the other sound; its length may differ.
        expected: offset that is preferred where others are hardly better, seconds.

    Returns:
        By how many seconds `sound` is later than `track`, or None if they aren't the same sound.
    """
    lags, correlation = _correlate(sound, track, COMPARE_RATE)
    is_expected = np.abs(lags - expected * COMPARE_RATE) <= SYNC_TOLERANCE * COMPARE_RATE
    best, best_expected = correlation.max(), correlation[is_expected].max(initial=0.0)
    if best < MIN_CORRELATION:
        return None
    if best > best_expected + MIN_CORRELATION_GAIN:
        lag = lags[np.argmax(correlation)]
    else:
        lag = lags[is_expected][np.argmax(correlation[is_expected])]
    return float(lag) / COMPARE_RATE


def _correlate(sound: np.ndarray, track: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalized cross-correlation of two sounds at `rate`: offsets in samples, and the correlation at each."""
    lags = np.arange(-round(MAX_OFFSET * rate), round(MAX_OFFSET * rate) + 1)
    size = next_fast_len(max(len(sound) + len(track), len(lags) + 1))
    product = irfft(rfft(sound, size) * np.conj(rfft(track, size)), size)[lags]
    # Normalized over the overlap: sound[lag:] beside track, or sound beside track[-lag:].
    power_s, power_t = (np.concatenate([[0], np.cumsum(np.square(x, dtype=float))]) for x in (sound, track))
    begin = np.clip(lags, 0, len(sound))
    end = np.clip(len(track) + lags, 0, len(sound))
    overlap_power = (power_s[end] - power_s[np.minimum(begin, end)]) * (
        power_t[np.clip(end - lags, 0, len(track))] - power_t[np.clip(begin - lags, 0, len(track))]
    )
    # An overlap of a few samples proves nothing: each sound must have about a tenth of its energy there.
    is_enough = overlap_power > 0.01 * power_s[-1] * power_t[-1]
    correlation = np.where(is_enough, product / np.sqrt(np.maximum(overlap_power, 1e-12)), 0.0)
    return lags, correlation
