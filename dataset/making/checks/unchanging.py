"""Find clips that teach nothing or teach it twice: still pictures, constant sounds, and what tells equal clips.

Each is measured while a clip is read anyway, and stops as soon as something has changed.
"""

import hashlib

import numpy as np

GRID = 64  # side of the small gray pictures that are compared, pixels
# Levels, 0..255, by which a part of a picture changes. Encoding a still again and again changes its parts at key frames
# by up to MOST_NOISE, and leaves them alone in between; what moves changes in each picture.
NOISE, MOST_NOISE = 3, 16
SETTLING = 5  # pictures, a second, in which an encoder of a set bit rate works a still out
MOST_RUN = 2  # pictures one after another that change by more than NOISE in a still: a key frame, and its correction

WINDOW = 0.5  # of a sound whose spectrum is compared, seconds
SHORT_WINDOW = 0.05  # of a sound whose level is compared, seconds: shorter than beeps and beats
FEWEST_WINDOWS = 4
EDGES = (0, 500, 1000, 2000, 4000, 8000, 16000)  # of the bands, Hz: wide, so that noise has a steady level in each
MOST_DB, MOST_SHORT_DB = 3.0, 6.0  # by how much levels of noise differ by chance, dB
FINE_BAND = 25  # of the spectra whose shapes are compared, Hz: about a semitone
MOST_MOVED = 0.3  # part of the power that noise has in other bands by chance
FLOOR_DB = 40.0  # bands this much below the sound aren't compared: they hold the noise of its encoder
QUIET = 1e-8  # power of a band that is too quiet to compare, of full scale


class PictureChange:
    """Tells whether pictures stay the same but for the noise of an encoder.

    A small thing that moves changes one part of the grid by more than an encoder does, time and again.

    Attributes:
        has_changed: whether the pictures so far differ.
    """

    def __init__(self) -> None:
        self.has_changed = False
        self._low = self._high = self._last = np.zeros(0, np.int16)
        self._run = self._count = 0

    def add(self, picture: np.ndarray) -> None:
        """Compare a picture with those before it.

        Args:
            picture: (GRID, GRID) uint8, gray.
        """
        if self.has_changed:
            return
        picture = picture.astype(np.int16)
        if not self._last.size:
            self._low = self._high = self._last = picture
            return
        self._low, self._high = np.minimum(self._low, picture), np.maximum(self._high, picture)
        self._count += 1
        differs = self._count > SETTLING and np.abs(picture - self._last).max() > NOISE
        self._run = self._run + 1 if differs else 0
        self._last = picture
        self.has_changed = self._run > MOST_RUN or (self._high - self._low).max() > MOST_NOISE


class SoundChange:
    """Tells whether a sound is a steady tone, hum or noise: its level and its spectrum stay the same.

    Args:
        rate: of the samples, Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate, self._window, self._short = rate, round(WINDOW * rate), round(SHORT_WINDOW * rate)
        self._hann = np.hanning(self._window).astype(np.float32)
        bounds = [round(edge * WINDOW) for edge in EDGES if edge < rate / 2]
        self._bounds = np.array([1, *bounds[1:]])  # without the mean
        self._rest = self._end = np.zeros(0, np.float32)
        self._low, self._high = np.full(len(bounds), np.inf), np.zeros(len(bounds))
        self._short_low, self._short_high = np.inf, 0.0
        self._fine = np.arange(1, len(self._hann) // 2, max(round(FINE_BAND * WINDOW), 1))
        self._shape = np.zeros(0)
        self._count = 0
        self._has_changed = False

    def add(self, samples: np.ndarray) -> None:
        """Compare the next part of the sound with what came before.

        Args:
            samples: (N,) float, of full scale.
        """
        if self._has_changed:
            return
        samples = np.concatenate([self._rest, samples.astype(np.float32)])
        self._end = np.concatenate([self._end, samples[-self._window :]])[-self._window :]
        windows = len(samples) // self._window
        self._rest = samples[windows * self._window :]
        for k in range(windows):
            self._compare(samples[k * self._window : (k + 1) * self._window])
            if self._has_changed:
                return

    def is_constant(self) -> bool:
        """Tell whether the whole sound is constant; never of one that is shorter than two seconds."""
        if len(self._rest) and len(self._end) == self._window:
            self._compare(self._end)
        return not self._has_changed and self._count >= FEWEST_WINDOWS

    def _compare(self, samples: np.ndarray) -> None:
        """Compare the levels of a window, as a whole in each band and in its short parts, with those before."""
        samples = samples - samples.mean()
        parts = np.square(samples[: len(samples) // self._short * self._short]).reshape(-1, self._short).mean(1)
        self._short_low = min(self._short_low, float(parts.min()))
        self._short_high = max(self._short_high, float(parts.max()))
        power = np.square(np.abs(np.fft.rfft(samples * self._hann))) / (0.1875 * self._window**2)
        levels = np.add.reduceat(power, self._bounds)
        self._low, self._high = np.minimum(self._low, levels), np.maximum(self._high, levels)
        self._count += 1
        shape = np.add.reduceat(power, self._fine)
        shape /= max(shape.sum(), QUIET)
        self._shape = self._shape if self._shape.size else shape
        has_moved = float(np.abs(shape - self._shape).sum()) / 2 > MOST_MOVED
        heard = self._high > max(self._high.sum() * 10 ** (-FLOOR_DB / 10), QUIET)
        varies = bool((self._high > self._low * 10 ** (MOST_DB / 10))[heard].any())
        self._has_changed = varies or has_moved or self._short_high > self._short_low * 10 ** (MOST_SHORT_DB / 10)


class ContentDigest:
    """A digest of what a clip shows and sounds like, whatever its container: equal clips have equal ones."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, part: np.ndarray) -> None:
        """Add the next pictures or samples.

        Args:
            part: of any shape and type.
        """
        self._hash.update(np.ascontiguousarray(part).data)

    def text(self) -> str:
        """Return the digest in 32 letters."""
        return self._hash.hexdigest()
