"""Building blocks of synthetic sounds: sine partials, plucked strings, envelopes, filters, formants."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.signal import butter, sosfilt


def sample_times(seconds: float, rate: int) -> np.ndarray:
    """Compute the times (n,), in seconds, of the samples of a sound that lasts `seconds` at `rate` Hz."""
    return np.arange(max(int(seconds * rate), 16)) / rate


def envelope(n: int, rate: int, attack: float, release: float) -> np.ndarray:
    """Compute an amplitude envelope (n,), 0..1, at `rate` Hz that rises in `attack` and falls in `release` seconds."""
    rise = np.minimum(np.arange(n) / (attack * rate), 1)
    fall = np.minimum(np.arange(n, 0, -1) / (release * rate), 1)
    return np.sin(rise * np.pi / 2) * np.sin(fall * np.pi / 2)


def damped_sines(
    hz: Iterable[float], gains: Iterable[float], decays: Iterable[float], seconds: float, rate: int
) -> np.ndarray:
    """Sum damped sines. Those above 45% of the sample rate are left out.

    Args:
        hz: (k,), frequencies.
        gains: (k,), amplitudes.
        decays: (k,), decay times to -60 dB, seconds.
        seconds: length.
        rate: of the samples, Hz.

    Returns:
        (n,) float.
    """
    n, block = max(int(seconds * rate), 16), 256
    out = np.zeros((n // block + 1, block))
    for f, gain, decay in zip(hz, gains, decays, strict=True):
        if f < 0.45 * rate:
            turn = (2j * np.pi * f - np.log(1000) / decay) / rate
            # exp(turn * t) of every sample t is an outer product: far fewer exponentials to compute.
            starts = gain * np.exp(turn * block * np.arange(len(out)))
            out += np.multiply.outer(starts, np.exp(turn * np.arange(block))).imag
    return out.ravel()[:n]


def harmonics(cycles: np.ndarray, gains: Sequence[float] | np.ndarray, rate: int, top_hz: float) -> np.ndarray:
    """Sum harmonics: over k, gains[k] sin(2 pi (k+1) cycles).

    Args:
        cycles: (n,), phase of the fundamental, cycles.
        gains: amplitudes of the harmonics.
        rate: of the samples, Hz.
        top_hz: highest frequency of the fundamental; harmonics of it above 45% of the sample rate are left out.

    Returns:
        (n,) float.
    """
    out = np.zeros_like(cycles)
    turn = np.exp(2j * np.pi * cycles)
    power = np.ones_like(turn)
    for gain in gains[: max(int(0.45 * rate / top_hz), 1)]:
        power = power * turn
        out += gain * power.imag
    return out


def vibrato_phase(
    t: np.ndarray, hz: float, rng: np.random.Generator, depth: float, speed: float, onset: float = 0.15
) -> np.ndarray:
    """Compute the phase of a tone whose pitch oscillates.

    Args:
        t: (n,), times of the samples, seconds.
        hz: mean pitch.
        rng: draws where the oscillation begins.
        depth: amplitude of the oscillation as a fraction of the pitch.
        speed: frequency of the oscillation, Hz.
        onset: time until it has its full amplitude, seconds.

    Returns:
        (n,) float, cycles.
    """
    swing = depth * np.clip(t / onset, 0, 1) * np.sin(2 * np.pi * (speed * t + rng.random()))
    return np.cumsum(hz * (1 + swing)) * (t[1] - t[0])


def band_pass(x: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """Filter samples x (n,) at `rate` Hz to the band from `low` to `high` Hz, kept below the Nyquist frequency."""
    edges = np.clip([low, high], 20, 0.48 * rate)
    return sosfilt(butter(1, edges, "bandpass", fs=rate, output="sos"), x)


def plucked_string(
    hz: float, seconds: float, rate: int, rng: np.random.Generator, decay: float, bright: float
) -> np.ndarray:
    """Synthesize a plucked string by the Karplus-Strong algorithm.

    Args:
        hz: pitch.
        seconds: length.
        rate: of the samples, Hz.
        rng: draws the pluck.
        decay: time to -60 dB, seconds.
        bright: 0 (dull) to 1.

    Returns:
        (n,) float.
    """
    blend = 0.5 * (1 - bright)
    period = max(int(rate / hz - blend), 4)
    loss = 10 ** (-3 / (decay * hz))
    wave = rng.uniform(-1, 1, period)
    wave += (1 - bright) * (np.roll(wave, 1) - wave) * 0.8
    wave -= 0.8 * np.roll(wave, max(int(period * rng.uniform(0.12, 0.3)), 1))  # where the string is plucked
    out = np.zeros(1 + period * (int(seconds * hz) + 3))
    out[1 : period + 1] = wave
    for k in range(period + 1, len(out), period):
        out[k : k + period] = loss * ((1 - blend) * out[k - period : k] + blend * out[k - period - 1 : k - 1])
    # One loop lasts period + blend samples; reading at another speed puts the string in tune.
    t = np.arange(int(seconds * rate)) * ((period + blend) * hz / rate)
    return np.interp(t, np.arange(len(out)), out)


def formant_gains(
    rng: np.random.Generator, frequencies: np.ndarray, peaks: Iterable[tuple[float, float, float]]
) -> np.ndarray:
    """Compute the gains of a resonating body.

    Args:
        rng: varies the frequencies of the peaks.
        frequencies: (k,), Hz.
        peaks: (frequency in Hz, height, width in octaves) of each resonance.

    Returns:
        (k,) float, amplitudes at `frequencies`.
    """
    out = np.full(len(frequencies), 1.0)
    for hz, height, width in peaks:
        center = hz * rng.uniform(0.85, 1.18)
        out += height * np.exp(-0.5 * (np.log2(frequencies / center) / width) ** 2)
    return out
