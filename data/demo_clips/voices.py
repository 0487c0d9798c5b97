"""Synthesis of the demo's twelve instruments.

`voice_X(rng, rate)` draws the properties of one instrument and returns its `Note`, the function that plays it.
"""

from collections.abc import Callable

import numpy as np

from data.demo_clips.pen import pick
from data.demo_clips.synthesis import (
    band_pass,
    damped_sines,
    envelope,
    formant_gains,
    harmonics,
    plucked_string,
    sample_times,
    vibrato_phase,
)

# note(hz, seconds, force) -> samples (n,), floats of about unit amplitude. n may exceed `seconds`: the tone decays.
# `force`, 0..1, is how hard the note is played.
Note = Callable[[float, float, float], np.ndarray]


def voice_violin(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a violin at `rate` Hz, varied by `rng`: saw-like spectrum, body resonances, vibrato, slow attack."""
    tilt, speed, depth = rng.uniform(0.8, 1.15), rng.uniform(5, 6.8), rng.uniform(0.006, 0.012)
    attack, noise = rng.uniform(0.05, 0.11), rng.uniform(0.02, 0.05)
    k = np.arange(1, 31)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(seconds + 0.06, rate)
        gains = k**-tilt * formant_gains(rng, k * hz, [(450, 1, 0.4), (1100, 0.8, 0.4), (2800, 2.0, 0.5)])
        tone = harmonics(vibrato_phase(t, hz, rng, depth, speed), gains, rate, hz)
        hiss = band_pass(rng.standard_normal(len(t)), rate, 1500, 6000) * noise * 4
        return (tone + hiss) * envelope(len(t), rate, attack, 0.07)

    return note


def voice_guitar(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a guitar at `rate` Hz, varied by `rng`: mellow plucked string with the thump of the body."""
    decay, bright, body = rng.uniform(1.5, 3), rng.uniform(0.05, 0.3), rng.uniform(90, 130)
    thump = damped_sines((body, 2.1 * body), (0.35, 0.2), (0.15, 0.1), 0.2, rate)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        tone = plucked_string(hz, seconds + 0.5, rate, rng, decay, bright + 0.1 * force)
        tone[: len(thump)] += thump[: len(tone)]
        return tone * envelope(len(tone), rate, 0.002, 0.06)

    return note


def voice_banjo(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a banjo at `rate` Hz, varied by `rng`: bright, nasal string over a drum head, short."""
    decay, bright, head = rng.uniform(0.3, 0.5), rng.uniform(0.7, 0.9), rng.uniform(700, 1100)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        tone = plucked_string(hz, seconds + 0.15, rate, rng, decay, bright)
        tone = 0.5 * tone + 1.5 * band_pass(tone, rate, head, 3.5 * head)
        return tone * envelope(len(tone), rate, 0.001, 0.05)

    return note


def voice_trumpet(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a trumpet at `rate` Hz, varied by `rng`: frequency modulation 1:1 whose index follows the loudness."""
    index, attack, speed = rng.uniform(3, 4.5), rng.uniform(0.025, 0.05), rng.uniform(4.5, 6)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(seconds + 0.03, rate)
        swell = envelope(len(t), rate, attack, 0.05) * (0.82 + 0.18 * np.exp(-t * 8))
        cycles = vibrato_phase(t, hz, rng, 0.003, speed, 0.3)
        bright = index * (0.6 + 0.5 * force) * swell * min(1, 900 / hz)
        tone = np.sin(2 * np.pi * cycles + bright * np.sin(2 * np.pi * cycles))
        return (tone + 1.2 * band_pass(tone, rate, 1000, 2600)) * swell

    return note


def voice_saxophone(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a saxophone at `rate` Hz, varied by `rng`: strong low formant, growl, breath, rising onset."""
    growl, rough, breath = rng.uniform(24, 38), rng.uniform(0.2, 0.45), rng.uniform(0.1, 0.22)
    tilt, even = rng.uniform(1.1, 1.4), rng.uniform(0.35, 0.6)
    k = np.arange(1, 25)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(seconds + 0.05, rate)
        gains = k**-tilt * np.where(k % 2, 1, even) * formant_gains(rng, k * hz, [(550, 2.5, 0.4), (1500, 0.8, 0.3)])
        scoop = np.cumsum(-0.04 * hz * np.exp(-t * 30)) / rate
        tone = harmonics(vibrato_phase(t, hz, rng, 0.005, 4.8, 0.3) + scoop, gains, rate, hz)
        tone *= 1 + rough * np.sin(2 * np.pi * growl * t)
        hiss = band_pass(rng.standard_normal(len(t)), rate, 900, 3500) * breath * 4
        return (tone + hiss) * envelope(len(t), rate, 0.03, 0.06)

    return note


def voice_flute(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a flute at `rate` Hz, varied by `rng`: almost a sine, with tremolo and breath noise."""
    breath, second, speed = rng.uniform(0.06, 0.16), rng.uniform(0.08, 0.3), rng.uniform(4.5, 6)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(seconds + 0.06, rate)
        cycles = vibrato_phase(t, hz, rng, 0.004, speed)
        tone = harmonics(cycles, np.array([1, second, second * 0.35, 0.03]), rate, hz)
        tone *= 1 + 0.2 * np.sin(2 * np.pi * speed * t)
        hiss = rng.standard_normal(len(t)) * breath
        hiss = 2.5 * band_pass(hiss, rate, 0.8 * hz, 2.5 * hz) + 0.35 * hiss * (1 + 3 * np.exp(-t * 25))
        return (tone + hiss) * envelope(len(t), rate, 0.05, 0.06)

    return note


def voice_piano(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a piano at `rate` Hz, varied by `rng`: inharmonic partials that beat and decay, hammer knock."""
    stiff, tilt, decay = rng.uniform(2e-4, 6e-4), rng.uniform(1.0, 1.4), rng.uniform(1.6, 3)
    k = np.arange(1, 13)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        length = min(seconds + 0.4, 1.2)
        t = sample_times(length, rate)
        partials = k * hz * np.sqrt(1 + stiff * k**2)
        gains = k ** -(tilt + 0.4 - 0.4 * force) * rng.uniform(0.7, 1.3, len(k))
        decays = decay / (1 + 0.12 * k) * (260 / hz) ** 0.3
        tone = damped_sines(partials, gains, decays, length, rate)
        tone += damped_sines(partials * 1.0012, 0.6 * gains, decays * 0.7, length, rate)
        knock = band_pass(rng.standard_normal(len(t)), rate, 200, 1500) * np.exp(-t * 90)
        return (tone + 0.6 * knock) * envelope(len(t), rate, 0.002, 0.08)

    return note


def voice_accordion(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize an accordion at `rate` Hz, varied by `rng`: three detuned reeds a note, often in thirds or fifths."""
    detune, tilt, chord = (
        rng.uniform(0.004, 0.009),
        rng.uniform(0.55, 0.85),
        pick(rng, [(1,), (1, 1.25), (1, 1.5)]),
    )
    shake, low = rng.uniform(1, 3), rng.random() < 0.5
    k = np.arange(1, 21)
    gains = k**-tilt * np.where(k % 2, 1, 0.7)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(seconds + 0.04, rate)
        out = np.zeros_like(t)
        for f in [hz * c for c in chord] + ([hz / 2] if low else []):
            for cents in (-detune, 0, detune):
                out += harmonics(f * (1 + cents) * t + rng.random(), gains, rate, f)
        return out * (1 + 0.1 * np.sin(2 * np.pi * shake * t)) * envelope(len(t), rate, 0.025, 0.04)

    return note


def voice_drum(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a drum at `rate` Hz, varied by `rng`: low modes whose pitch falls, a burst of noise."""
    snap, decay, tune = rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.55), rng.uniform(0.9, 1.1)
    modes = np.array([1, 1.59, 2.14, 2.3, 2.65, 2.92])

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(0.45, rate)
        bent = t + 0.02 * (1 - np.exp(-t * 30))  # early time runs faster: the pitch falls
        out = np.zeros_like(t)
        for m, gain in zip(modes, (1, 0.6, 0.4, 0.3, 0.25, 0.2), strict=True):
            out += gain * np.exp(-6.9 / decay * m**0.6 * t) * np.sin(2 * np.pi * hz * tune * m * bent)
        hit = rng.standard_normal(len(t)) * np.exp(-t * 35)
        return (out + snap * (0.3 + force) * hit) * envelope(len(t), rate, 0.001, 0.05)

    return note


def voice_cymbal(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a cymbal at `rate` Hz, varied by `rng`: noise and dozens of inharmonic partials that decay slowly."""
    t = sample_times(1.6, rate)
    count, low, decay = 36, rng.uniform(400, 900), rng.uniform(1.2, 2.8)
    hz = low * (7500 / low) ** rng.random(count)
    plate = damped_sines(hz, rng.uniform(-0.22, 0.22, count), decay * rng.uniform(0.5, 1, count), 1.6, rate)
    wash = band_pass(rng.standard_normal(len(t)), rate, rng.uniform(2500, 4000), 7600) * np.exp(-t * 5 / decay)
    crash = (plate + rng.uniform(0.8, 1.8) * wash) * (1 + 1.5 * np.exp(-t * 20))

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        return crash * envelope(len(t), rate, 0.002, 0.2)

    return note


def voice_bell(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a bell at `rate` Hz, varied by `rng`: hum, prime, minor third, fifth, nominal and higher modes."""
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.16, 5.43]) * rng.uniform(0.99, 1.01, 10)
    gains = np.array([0.5, 0.7, 0.8, 0.3, 1, 0.4, 0.4, 0.5, 0.5, 0.4]) * rng.uniform(0.6, 1.4, 10)
    decays = np.array([5, 3.5, 3, 2, 2.2, 1.4, 1.2, 1, 0.7, 0.4]) * rng.uniform(0.8, 1.3)

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        length = min(seconds + 1.0, 1.8)
        tone = damped_sines(ratios * hz, gains, decays, length, rate)
        tone += damped_sines(ratios * hz * 1.0025, 0.5 * gains, decays, length, rate)  # two modes a partial: they beat
        return tone * envelope(len(tone), rate, 0.001, 0.3)

    return note


def voice_marimba(rng: np.random.Generator, rate: int) -> Note:
    """Synthesize a marimba at `rate` Hz, varied by `rng`: modes 1 : 4 : 9.2, short, with the tap of the mallet."""
    decay, second, third, tap = (
        rng.uniform(0.35, 0.7),
        rng.uniform(0.2, 0.5),
        rng.uniform(0.1, 0.25),
        rng.uniform(0.3, 1),
    )
    ratios = np.array([1, 4, 9.2])

    def note(hz: float, seconds: float, force: float) -> np.ndarray:
        t = sample_times(0.6, rate)
        gains = np.array([1, second, third * (0.5 + force)])
        tone = damped_sines(ratios * hz, gains, decay * np.array([1, 0.4, 0.2]) * (400 / hz) ** 0.3, 0.6, rate)
        knock = band_pass(rng.standard_normal(len(t)), rate, 500, 2500) * np.exp(-t * 150)
        return (tone + tap * knock) * envelope(len(t), rate, 0.001, 0.05)

    return note
