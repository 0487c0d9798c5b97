"""Sound of the demo's clips: a random melody, played by one instrument in a room."""

import numpy as np
from scipy.signal import fftconvolve

from data.demo_clips.classes import Instrument
from data.demo_clips.pen import pick
from data.demo_clips.scene import SECONDS

SCALES = ([0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 4, 7, 9], [0, 3, 5, 7, 10])  # semitones


def play_melody(rng: np.random.Generator, instrument: Instrument, rate: int, seconds: int = SECONDS) -> np.ndarray:
    """Synthesize a random melody without rests.

    Args:
        rng: draws the melody and the individual instrument.
        instrument: what plays it.
        rate: of the samples, Hz.
        seconds: length.

    Returns:
        (samples,) float, of any level.
    """
    note = instrument.voice(rng, rate)
    low, high = instrument.register
    semitones = np.add.outer(12 * np.arange(6), pick(rng, SCALES)).ravel() + rng.uniform(0, 6)
    pitches = low * 2 ** (semitones / 12)
    pitches = pitches[pitches <= high]
    short, long = instrument.beat
    beat = np.exp(rng.uniform(np.log(short), np.log(long)))
    step, time = int(rng.integers(len(pitches))), -rng.uniform(0, beat)  # the clip may begin within a note
    out = np.zeros(seconds * rate)
    while time < seconds:
        length = float(np.clip(beat * pick(rng, (0.5, 1, 1, 2)), short, long))
        step = int(np.clip(step + rng.integers(-3, 4), 0, len(pitches) - 1))
        force = rng.uniform(0.3, 1)
        tone = (0.4 + 0.6 * force) * note(pitches[step], length, force)
        start = int(time * rate)
        tone = tone[max(-start, 0) :]
        start = max(start, 0)
        out[start : start + len(tone)] += tone[: len(out) - start]
        time += length
    return out


def add_room(rng: np.random.Generator, dry: np.ndarray, rate: int) -> np.ndarray:
    """Simulate a recording: reverberation, spectral tilt, noise and level.

    Args:
        rng: draws the room and the microphone.
        dry: (samples,) float.
        rate: of the samples, Hz.

    Returns:
        (samples,) int16.
    """
    n = len(dry)
    decay = rng.uniform(0.1, 0.5)
    tail = np.arange(int(decay * rate)) / rate
    room = rng.standard_normal(len(tail)) * np.exp(-6.9 * tail / decay)
    wet = fftconvolve(dry, room / np.linalg.norm(room))[:n]
    hz = np.maximum(np.fft.rfftfreq(n, 1 / rate), 40)
    tilt = rng.uniform(-2, 2)  # dB per octave
    spectrum = np.fft.rfft(dry + rng.uniform(0, 0.35) * wet) * 10 ** (tilt * np.log2(hz / 1000) / 20)
    sound = np.fft.irfft(spectrum, n)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * hz ** -rng.uniform(0, 1), n)
    snr = rng.uniform(15, 40)  # dB
    sound = sound / sound.std() + noise / noise.std() * 10 ** (-snr / 20)
    return np.round(32767 * rng.uniform(0.2, 0.9) * sound / np.abs(sound).max()).astype(np.int16)
