"""Measure the offset between a clip's wav and the sound track of its mp4, by cross-correlation."""

from typing import cast

import av
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from dataset.reading.audio import resample, to_mono

COMPARE_RATE = 16000  # sample rate at which sounds are compared, Hz
MAX_OFFSET = 1.5  # largest offset that is looked for, seconds
SYNC_TOLERANCE = 0.002  # largest offset that counts as in sync, seconds
MIN_CORRELATION = 0.5  # two sounds with at least this correlation are the same
# How much higher the correlation must be at another offset than in sync: a steady tone correlates at many offsets.
MIN_CORRELATION_GAIN = 0.03
MAX_GAPS = 60  # a sound track with more silence than this between its packets is ignored, seconds


class EmbeddedAudio:
    """The sound track of an mp4, on the clock of its frames. Training doesn't read it: damage only ends it."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, np.ndarray]] = []  # first sample, samples
        self._rate: int | None = None
        self._is_damaged = False

    def add(self, packet: av.Packet) -> None:
        """Decode the next `packet`."""
        if self._is_damaged:
            return
        try:
            for frame in cast(list[av.AudioFrame], packet.decode()):
                if self._rate not in (None, frame.sample_rate) or frame.time is None:
                    self._is_damaged = True
                self._rate = frame.sample_rate
                self._pieces.append((round((frame.time or 0) * self._rate), to_mono(frame)))
        except (av.FFmpegError, OSError, ValueError):
            self._is_damaged = True

    def samples(self) -> np.ndarray | None:
        """Join the sound: (samples,) float at `COMPARE_RATE` from time 0 on, zeros in gaps; None if there is none."""
        end = max((first + len(values) for first, values in self._pieces), default=0)
        if self._is_damaged or self._rate is None or end <= 0:
            return None
        if end > sum(len(values) for _, values in self._pieces) + MAX_GAPS * self._rate:
            return None
        out = np.zeros(end)
        for first, values in self._pieces:
            out[max(first, 0) : max(first + len(values), 0)] = values[max(-first, 0) :]
        return resample(np.nan_to_num(out), self._rate, COMPARE_RATE)


def offset_between(sound: np.ndarray, track: np.ndarray) -> float | None:
    """Find the offset at which the normalized cross-correlation of two sounds is largest.

    Args:
        sound: (samples,) float at `COMPARE_RATE`, from time 0 on.
        track: the same of the other sound; its length may differ.

    Returns:
        By how many seconds `sound` is later than `track`, or None if they aren't the same sound.
    """
    lags = np.arange(-round(MAX_OFFSET * COMPARE_RATE), round(MAX_OFFSET * COMPARE_RATE) + 1)
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
    in_sync = np.abs(lags) <= SYNC_TOLERANCE * COMPARE_RATE
    best, best_in_sync = correlation.max(), correlation[in_sync].max()
    if best < MIN_CORRELATION:
        return None
    if best > best_in_sync + MIN_CORRELATION_GAIN:
        lag = lags[np.argmax(correlation)]
    else:
        lag = lags[in_sync][np.argmax(correlation[in_sync])]
    return float(lag) / COMPARE_RATE
