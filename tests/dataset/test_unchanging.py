"""Still pictures and constant sounds are found however they were encoded; what changes a little is neither."""

import numpy as np
import pytest
from helpers import make_clip, tone, write_video

from dataset.making.checks.clip_checks import check_clip
from dataset.making.checks.unchanging import ContentDigest, PictureChange, SoundChange

RATES = (8000, 16000, 48000)


def photo(size=(192, 160), seed=0):
    """A picture with structure of every size, some sensor noise: (H, W, 3) uint8."""
    rng, (width, height) = np.random.default_rng(seed), size
    picture = np.full((height, width, 3), 128.0)
    for side, strength in ((32, 50), (8, 20), (1, 3)):
        cells = rng.normal(0, strength, (height // side, width // side, 3))
        picture += cells.repeat(side, 0).repeat(side, 1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def moving(side, contrast, step=2, count=60, paused=0):
    """A fixed camera and a small square that moves, but for its first `paused` pictures."""
    frames = []
    for k in range(count):
        frame, x = photo().astype(int), 20 + step * max(k - paused, 0) % 140
        frame[60 : 60 + side, x : x + side] += contrast
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def found(tmp_path, pictures, sound=None, **options):
    files = make_clip(tmp_path, "a", len(pictures) / 25, sound=sound if sound is not None else noise_bursts(3))
    write_video(files[0], pictures, **options)
    result = check_clip("a", *files)
    assert result.kind == "ok", result
    assert bool(result.thumbnail) == bool(result.findings)
    return [finding.kind for finding in result.findings]


def noise_bursts(seconds, rate=16000):
    """A sound that changes all the time."""
    wave = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    return wave * (1 + np.sin(np.arange(len(wave)) * 6 / rate * 2 * np.pi)) / 2


@pytest.mark.parametrize("x264", ["crf=18:keyint=12", "crf=28:keyint=25", "crf=33:keyint=15", "bitrate=150:keyint=50"])
def test_an_encoded_still_is_a_still_picture(tmp_path, x264):
    assert found(tmp_path, [photo()] * 60, x264=x264) == ["still"]


@pytest.mark.parametrize("x264", ["crf=18", "crf=33:keyint=25"])
@pytest.mark.parametrize(("side", "contrast", "paused"), [(4, 40, 0), (8, 20, 0), (8, 60, 0), (8, 60, 50), (4, 14, 0)])
def test_a_small_thing_that_moves_before_a_fixed_camera_is_none(tmp_path, side, contrast, paused, x264):
    assert found(tmp_path, moving(side, contrast, paused=paused), x264=x264) == []


def test_a_slide_show_and_a_slow_fade_are_none(tmp_path):
    assert found(tmp_path, [photo()] * 30 + [photo(seed=1)] * 30) == []
    fade = [(photo() * (1 - 0.3 * k / 60)).astype(np.uint8) for k in range(60)]
    assert found(tmp_path, fade) == []


def test_pictures_are_compared_with_those_long_before():
    change = PictureChange()
    for level in range(100, 130):  # a change of one level at a time
        change.add(np.full((64, 64), level, np.uint8))
    assert change.has_changed


def is_constant(samples, rate, part=4000):
    change = SoundChange(rate)
    for start in range(0, len(samples), part):
        change.add(samples[start : start + part])
    return change.is_constant()


def steady(kind, rate, seconds=5):
    t = np.arange(seconds * rate) / rate
    rng = np.random.default_rng(0)
    return {
        "tone": lambda: tone(seconds, rate, 440.0, 0.1),
        "hum": lambda: tone(seconds, rate, 50.0, 0.1, overtones=7),
        "noise": lambda: rng.normal(0, 0.1, len(t)),
        "hum and noise": lambda: tone(seconds, rate, 100.0, 0.1, overtones=3) + rng.normal(0, 0.01, len(t)),
        "16 bits of a quiet tone": lambda: np.round(tone(seconds, rate, 700.0, 0.005) * 32768) / 32768,
    }[kind]()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["tone", "hum", "noise", "hum and noise", "16 bits of a quiet tone"])
def test_a_steady_sound_is_constant_until_something_happens(kind, rate):
    wave = steady(kind, rate)
    assert is_constant(wave, rate)
    assert is_constant(wave, rate, part=10 * len(wave))
    assert not is_constant(wave[: 3 * rate // 2], rate)  # too short to tell
    wave = wave[: round(4.8 * rate)]  # its last window isn't whole
    t = np.arange(len(wave)) / rate
    changed = {
        "fade": wave * np.linspace(1, 0.4, len(wave)),
        "pause": wave * ((t < 3) | (t > 3.2)),
        "click at the end": wave + 10 * np.abs(wave).max() * (t > 4.79),
        "another tone at times": wave + 0.5 * np.abs(wave).max() * np.sin(2 * np.pi * 3000 * t) * (t % 2 < 0.3),
        "beeps": wave * (t * 4 % 1 < 0.5),
    }
    assert {name for name, sound in changed.items() if is_constant(sound, rate)} == set()


@pytest.mark.parametrize("rate", RATES)
def test_a_melody_of_one_loudness_is_not_constant(rate):
    notes = np.concatenate([tone(0.5, rate, 600 * 2 ** (k % 5 / 12), 0.1) for k in range(8)])
    assert not is_constant(notes, rate)


def test_a_clip_with_a_constant_sound_is_told_of(tmp_path):
    assert found(tmp_path, moving(8, 60), sound=tone(2.4, 16000)) == ["constant sound"]
    assert found(tmp_path, [photo()] * 60, sound=tone(2.4, 16000)) == ["still", "constant sound"]


def test_a_digest_tells_any_change():
    def digest(*parts):
        made = ContentDigest()
        for part in parts:
            made.add(part)
        return made.text()

    sound = np.arange(1000, dtype=np.int16)
    assert digest(sound) == digest(sound[:400], sound[400:]) != digest(sound + 1)
