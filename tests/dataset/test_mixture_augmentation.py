"""Augmentation of the sounds of mixtures: speed, spectrum, volume."""

import numpy as np
import pytest
import torch

from configs.schema import Config
from dataset.transforms.mixtures import MixtureTransform, change_speed
from utils.config import override

RATE, SAMPLES = 8000, 8000


def batch_of(waves):
    sounds = torch.from_numpy((waves * 32768).round().astype(np.int16))
    frames = torch.zeros(len(waves), 8, 8, 3, dtype=torch.uint8)
    return {"frames": frames, "sounds": sounds, "seeds": torch.arange(len(waves)), "progress": 1.0}


def transformed(waves, train=True, **changes):
    settings = {"model.name": "PixelPlayer", "data.frame_size": 32, "mix.volume": 0.0, "mix.clip": False}
    config = override(Config(), settings | {f"mix.{name}": value for name, value in changes.items()})
    return MixtureTransform(config, train)(batch_of(waves))[1].numpy()


def peak(wave):
    """The strongest frequency, Hz."""
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * RATE / len(wave)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25])
def test_speed_moves_frequencies_and_keeps_the_middle(factor):
    tone = np.sin(2 * np.pi * 400 * np.arange(SAMPLES) / RATE).astype(np.float32)
    changed = change_speed(torch.from_numpy(tone)[None], torch.tensor([factor]))[0].numpy()
    assert peak(changed) == pytest.approx(400 * factor, abs=5) and np.abs(changed).max() > 0.95
    click = torch.zeros(1, 1001)
    click[0, 500] = 1.0
    assert change_speed(click, torch.tensor([factor])).argmax() == 500


def test_each_clip_has_a_speed_of_its_own_within_the_limit_and_evaluation_none():
    tones = np.stack([0.5 * np.sin(2 * np.pi * 400 * np.arange(SAMPLES) / RATE)] * 40)
    found = np.array([peak(wave) for wave in transformed(tones, speed=0.25)]) / 400
    assert found.min() >= 0.79 and found.max() <= 1.26 and found.max() - found.min() > 0.3
    assert np.allclose(transformed(tones, train=False, speed=0.25, tilt=20.0), tones, atol=1e-4)
    assert np.allclose(transformed(tones), tones, atol=1e-4)


def test_tilt_changes_the_spectrum_smoothly_and_by_no_more_than_its_limit():
    noise = np.random.default_rng(0).normal(0, 0.1, (30, SAMPLES)).clip(-0.9, 0.9)
    tilted = transformed(noise, tilt=6.0)
    ratio = 20 * np.log10(np.abs(np.fft.rfft(tilted)) / np.abs(np.fft.rfft(noise.round(6))))[:, 10:-1]  # dB
    assert np.quantile(np.abs(ratio), 0.99) < 6.2 and np.abs(ratio).max(1).mean() > 1.0
    assert np.abs(np.diff(np.median(ratio.reshape(30, 285, 14), 2), axis=1)).max() < 0.5
    assert np.std(ratio[:, -1]) > 0.5  # each clip has a curve of its own
