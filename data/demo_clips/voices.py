"""How the demo's twelve instruments sound: functions voice(rng, rate) -> note(hz, seconds, force) that play one note.

Variety comes from a numpy Generator: one voice is one individual.
"""

import numpy as np
from scipy.signal import butter, sosfilt

from data.demo_clips.looks import pick

# voice_X(rng, rate) draws one individual instrument and returns its note(hz, seconds, force) -> samples (n,),
# floats of roughly unit size; n may run past `seconds`, as the tone dies away. force, 0..1, is how hard it is
# played; rate is in Hz.


def seconds_to_time(seconds, rate):
    """Return the sample times (n,), in seconds, of a stretch of sound."""
    return np.arange(max(int(seconds * rate), 16)) / rate


def fade(n, rate, attack, release):
    """Return an envelope (n,) that rises over attack seconds and falls over release seconds, 0..1."""
    rise = np.minimum(np.arange(n) / (attack * rate), 1)
    fall = np.minimum(np.arange(n, 0, -1) / (release * rate), 1)
    return np.sin(rise * np.pi / 2) * np.sin(fall * np.pi / 2)


def ring(hz, gains, decays, seconds, rate):
    """Return the sum of damped sines (n,): frequencies hz, gains and 60 dB decay times (seconds), each (k,).

    Partials above 45% of the sample rate are left out.
    """
    n, block = max(int(seconds * rate), 16), 256
    out = np.zeros((n // block + 1, block))
    for f, gain, decay in zip(hz, gains, decays, strict=True):
        if f < 0.45 * rate:
            turn = (2j * np.pi * f - np.log(1000) / decay) / rate
            # exp(turn * t) for every sample t is an outer product: far fewer exponentials to take.
            starts = gain * np.exp(turn * block * np.arange(len(out)))
            out += np.multiply.outer(starts, np.exp(turn * np.arange(block))).imag
    return out.ravel()[:n]


def harmonics(cycles, gains, rate, top_hz):
    """Return the sum over k of gains[k] sin(2 pi (k+1) cycles), (n,), for a phase in cycles (n,).

    Partials above 45% of the sample rate, were the tone at top_hz, are left out.
    """
    out = np.zeros_like(cycles)
    turn = np.exp(2j * np.pi * cycles)
    power = np.ones_like(turn)
    for gain in gains[: max(int(0.45 * rate / top_hz), 1)]:
        power = power * turn
        out += gain * power.imag
    return out


def vibrato(t, hz, rng, depth, speed, onset=0.15):
    """Return the phase in cycles (n,) of a tone at hz whose pitch swings by +-depth (a ratio) at speed Hz."""
    swing = depth * np.clip(t / onset, 0, 1) * np.sin(2 * np.pi * (speed * t + rng.random()))
    return np.cumsum(hz * (1 + swing)) * (t[1] - t[0])


def band(x, rate, low, high):
    """Return x with only the band low..high (Hz) left; the edges are kept below the Nyquist frequency."""
    edges = np.clip([low, high], 20, 0.48 * rate)
    return sosfilt(butter(1, edges, "bandpass", fs=rate, output="sos"), x)


def pluck(hz, seconds, rate, rng, decay, bright):
    """Return a Karplus-Strong string (n,): decay is its 60 dB time in seconds, bright is 0 (dull) .. 1."""
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


def formants(rng, gains_at, peaks):
    """Return gains (k,) at frequencies gains_at (k,) of a body with peaks [(Hz, height, octaves wide)]."""
    out = np.full(len(gains_at), 1.0)
    for hz, height, width in peaks:
        centre = hz * rng.uniform(0.85, 1.18)
        out += height * np.exp(-0.5 * (np.log2(gains_at / centre) / width) ** 2)
    return out


def voice_violin(rng, rate):
    """Bowed string: saw-like spectrum under body resonances, vibrato, slow attack, bow noise."""
    tilt, speed, depth = rng.uniform(0.8, 1.15), rng.uniform(5, 6.8), rng.uniform(0.006, 0.012)
    attack, noise = rng.uniform(0.05, 0.11), rng.uniform(0.02, 0.05)
    k = np.arange(1, 31)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.06, rate)
        gains = k**-tilt * formants(rng, k * hz, [(450, 1, 0.4), (1100, 0.8, 0.4), (2800, 2.0, 0.5)])
        tone = harmonics(vibrato(t, hz, rng, depth, speed), gains, rate, hz)
        hiss = band(rng.standard_normal(len(t)), rate, 1500, 6000) * noise * 4
        return (tone + hiss) * fade(len(t), rate, attack, 0.07)

    return note


def voice_guitar(rng, rate):
    """Plucked string, mellow and long, with the thump of the body."""
    decay, bright, body = rng.uniform(1.5, 3), rng.uniform(0.05, 0.3), rng.uniform(90, 130)
    thump = ring((body, 2.1 * body), (0.35, 0.2), (0.15, 0.1), 0.2, rate)

    def note(hz, seconds, force):
        tone = pluck(hz, seconds + 0.5, rate, rng, decay, bright + 0.1 * force)
        tone[: len(thump)] += thump[: len(tone)]
        return tone * fade(len(tone), rate, 0.002, 0.06)

    return note


def voice_banjo(rng, rate):
    """Plucked string over a drum head: bright, nasal, gone within a third of a second."""
    decay, bright, head = rng.uniform(0.3, 0.5), rng.uniform(0.7, 0.9), rng.uniform(700, 1100)

    def note(hz, seconds, force):
        tone = pluck(hz, seconds + 0.15, rate, rng, decay, bright)
        tone = 0.5 * tone + 1.5 * band(tone, rate, head, 3.5 * head)
        return tone * fade(len(tone), rate, 0.001, 0.05)

    return note


def voice_trumpet(rng, rate):
    """Brass: frequency modulation 1:1 whose index, the brightness, follows the loudness."""
    index, attack, speed = rng.uniform(3, 4.5), rng.uniform(0.025, 0.05), rng.uniform(4.5, 6)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.03, rate)
        swell = fade(len(t), rate, attack, 0.05) * (0.82 + 0.18 * np.exp(-t * 8))
        cycles = vibrato(t, hz, rng, 0.003, speed, 0.3)
        bright = index * (0.6 + 0.5 * force) * swell * min(1, 900 / hz)
        tone = np.sin(2 * np.pi * cycles + bright * np.sin(2 * np.pi * cycles))
        return (tone + 1.2 * band(tone, rate, 1000, 2600)) * swell

    return note


def voice_saxophone(rng, rate):
    """Reed: strong low formant, hollow even partials, growl, plenty of breath; notes scoop up from below."""
    growl, rough, breath = rng.uniform(24, 38), rng.uniform(0.2, 0.45), rng.uniform(0.1, 0.22)
    tilt, even = rng.uniform(1.1, 1.4), rng.uniform(0.35, 0.6)
    k = np.arange(1, 25)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.05, rate)
        gains = k**-tilt * np.where(k % 2, 1, even) * formants(rng, k * hz, [(550, 2.5, 0.4), (1500, 0.8, 0.3)])
        scoop = np.cumsum(-0.04 * hz * np.exp(-t * 30)) / rate
        tone = harmonics(vibrato(t, hz, rng, 0.005, 4.8, 0.3) + scoop, gains, rate, hz)
        tone *= 1 + rough * np.sin(2 * np.pi * growl * t)
        hiss = band(rng.standard_normal(len(t)), rate, 900, 3500) * breath * 4
        return (tone + hiss) * fade(len(t), rate, 0.03, 0.06)

    return note


def voice_flute(rng, rate):
    """Nearly a sine, with tremolo and breath noise around the note."""
    breath, second, speed = rng.uniform(0.06, 0.16), rng.uniform(0.08, 0.3), rng.uniform(4.5, 6)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.06, rate)
        cycles = vibrato(t, hz, rng, 0.004, speed)
        tone = harmonics(cycles, np.array([1, second, second * 0.35, 0.03]), rate, hz)
        tone *= 1 + 0.2 * np.sin(2 * np.pi * speed * t)
        hiss = rng.standard_normal(len(t)) * breath
        hiss = 2.5 * band(hiss, rate, 0.8 * hz, 2.5 * hz) + 0.35 * hiss * (1 + 3 * np.exp(-t * 25))
        return (tone + hiss) * fade(len(t), rate, 0.05, 0.06)

    return note


def voice_piano(rng, rate):
    """Struck strings: slightly inharmonic partials that beat and die, upper ones first; hammer knock."""
    stiff, tilt, decay = rng.uniform(2e-4, 6e-4), rng.uniform(1.0, 1.4), rng.uniform(1.6, 3)
    k = np.arange(1, 13)

    def note(hz, seconds, force):
        length = min(seconds + 0.4, 1.2)
        t = seconds_to_time(length, rate)
        partials = k * hz * np.sqrt(1 + stiff * k**2)
        gains = k ** -(tilt + 0.4 - 0.4 * force) * rng.uniform(0.7, 1.3, len(k))
        lives = decay / (1 + 0.12 * k) * (260 / hz) ** 0.3
        tone = ring(partials, gains, lives, length, rate)
        tone += ring(partials * 1.0012, 0.6 * gains, lives * 0.7, length, rate)
        knock = band(rng.standard_normal(len(t)), rate, 200, 1500) * np.exp(-t * 90)
        return (tone + 0.6 * knock) * fade(len(t), rate, 0.002, 0.08)

    return note


def voice_accordion(rng, rate):
    """Free reeds: three detuned buzzing reeds a note, often in thirds or fifths, steady."""
    detune, tilt, chord = (
        rng.uniform(0.004, 0.009),
        rng.uniform(0.55, 0.85),
        pick(rng, [(1,), (1, 1.25), (1, 1.5)]),
    )
    shake, low = rng.uniform(1, 3), rng.random() < 0.5
    k = np.arange(1, 21)
    gains = k**-tilt * np.where(k % 2, 1, 0.7)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.04, rate)
        out = np.zeros_like(t)
        for f in [hz * c for c in chord] + ([hz / 2] if low else []):
            for cents in (-detune, 0, detune):
                out += harmonics(f * (1 + cents) * t + rng.random(), gains, rate, f)
        return out * (1 + 0.1 * np.sin(2 * np.pi * shake * t)) * fade(len(t), rate, 0.025, 0.04)

    return note


def voice_drum(rng, rate):
    """Membrane: low modes whose pitch falls after the stroke, and a burst of noise."""
    snap, decay, tune = rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.55), rng.uniform(0.9, 1.1)
    modes = np.array([1, 1.59, 2.14, 2.3, 2.65, 2.92])

    def note(hz, seconds, force):
        t = seconds_to_time(0.45, rate)
        bent = t + 0.02 * (1 - np.exp(-t * 30))  # early time runs faster: the pitch falls
        out = np.zeros_like(t)
        for m, gain in zip(modes, (1, 0.6, 0.4, 0.3, 0.25, 0.2), strict=True):
            out += gain * np.exp(-6.9 / decay * m**0.6 * t) * np.sin(2 * np.pi * hz * tune * m * bent)
        hit = rng.standard_normal(len(t)) * np.exp(-t * 35)
        return (out + snap * (0.3 + force) * hit) * fade(len(t), rate, 0.001, 0.05)

    return note


def voice_cymbal(rng, rate):
    """Metal plate: noise and dozens of unrelated high partials, a long wash after each stroke."""
    t = seconds_to_time(1.6, rate)
    count, low, decay = 36, rng.uniform(400, 900), rng.uniform(1.2, 2.8)
    hz = low * (7500 / low) ** rng.random(count)
    plate = ring(hz, rng.uniform(-0.22, 0.22, count), decay * rng.uniform(0.5, 1, count), 1.6, rate)
    wash = band(rng.standard_normal(len(t)), rate, rng.uniform(2500, 4000), 7600) * np.exp(-t * 5 / decay)
    crash = (plate + rng.uniform(0.8, 1.8) * wash) * (1 + 1.5 * np.exp(-t * 20))

    def note(hz, seconds, force):
        return crash * fade(len(t), rate, 0.002, 0.2)

    return note


def voice_bell(rng, rate):
    """Bell: hum, prime, minor third, fifth, nominal and the clang above, ringing on over the next strokes."""
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.16, 5.43]) * rng.uniform(0.99, 1.01, 10)
    gains = np.array([0.5, 0.7, 0.8, 0.3, 1, 0.4, 0.4, 0.5, 0.5, 0.4]) * rng.uniform(0.6, 1.4, 10)
    decays = np.array([5, 3.5, 3, 2, 2.2, 1.4, 1.2, 1, 0.7, 0.4]) * rng.uniform(0.8, 1.3)

    def note(hz, seconds, force):
        length = min(seconds + 1.0, 1.8)
        tone = ring(ratios * hz, gains, decays, length, rate)
        tone += ring(ratios * hz * 1.0025, 0.5 * gains, decays, length, rate)  # two modes a partial: they beat
        return tone * fade(len(tone), rate, 0.001, 0.3)

    return note


def voice_marimba(rng, rate):
    """Struck bar: modes 1 : 4 : 9.2, dry and short, with the tap of the mallet."""
    decay, second, third, tap = (
        rng.uniform(0.35, 0.7),
        rng.uniform(0.2, 0.5),
        rng.uniform(0.1, 0.25),
        rng.uniform(0.3, 1),
    )
    ratios = np.array([1, 4, 9.2])

    def note(hz, seconds, force):
        t = seconds_to_time(0.6, rate)
        gains = np.array([1, second, third * (0.5 + force)])
        tone = ring(ratios * hz, gains, decay * np.array([1, 0.4, 0.2]) * (400 / hz) ** 0.3, 0.6, rate)
        knock = band(rng.standard_normal(len(t)), rate, 500, 2500) * np.exp(-t * 150)
        return (tone + tap * knock) * fade(len(t), rate, 0.001, 0.05)

    return note
