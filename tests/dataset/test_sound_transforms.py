"""Changes of sounds: each does what its name says, and all together are the formulas in double precision."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import FixedDraws
from transform_cases import DEMO, EVERYTHING, OFF, PAPER, always, random_draws, sounds_of

from configs.schema import Config, Spectrogram
from dataset.transforms import sounds as S
from dataset.transforms.frames import PairTransform


def test_gain_is_a_factor_on_the_amplitude():
    sounds = sounds_of()
    level = S.prepare_sounds(sounds, 16000, PAPER)
    for share, factor in ((0.0, 0.9), (1.0, 1.1)):
        out = S.prepare_sounds(sounds, 16000, PAPER, replace(OFF, gain=0.1), always(share))
        loud = level > level.median()
        assert (out - level)[loud].mean() == pytest.approx(2 * math.log(factor) / S.LOG_STD, rel=0.02)


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_scaling_frequencies_moves_a_sine_and_nothing_in_time(factor):
    wave = torch.sin(2 * math.pi * 5000 * torch.arange(48000) / 48000) * torch.linspace(0, 1, 48000)
    power = S.power_spectrogram(wave[None], 48000, n_fft=2048)
    moved = S.scale_frequencies(power, torch.tensor([factor]))
    assert moved.shape == power.shape
    before, after = power[0, :, 100].argmax().item(), moved[0, :, 100].argmax().item()
    assert before == pytest.approx(5000 * 2048 / 48000, abs=1) and after == pytest.approx(before * factor, abs=1)
    assert (moved[0].amax(0) / power[0].amax(0))[1:].sub(1).abs().max() < 0.05  # every column as loud as before
    assert torch.allclose(S.scale_frequencies(power, torch.tensor([1.0])), power)


def test_pitch_scales_up_and_down_by_the_same_factor():
    wave = torch.sin(2 * math.pi * 4000 * torch.arange(48000) / 48000) * 20000
    spec, sounds = Spectrogram(n_fft=4096), wave.short()[None]
    peaks = [
        S.prepare_sounds(sounds, 48000, spec, replace(OFF, pitch=0.25), always(share, 1))[0, 0, :, 50].argmax().item()
        for share in (0.0, 0.5, 1.0)
    ]
    assert peaks == pytest.approx([4000 / 1.25 * 4096 / 48000, 4000 * 4096 / 48000, 5000 * 4096 / 48000], abs=2)


def test_tilt_adds_a_smooth_curve_over_frequency_that_is_the_same_in_all_columns():
    sounds = sounds_of()
    out = S.prepare_sounds(sounds, 16000, PAPER, replace(OFF, tilt=6.0), random_draws(2))
    change = ((out - S.prepare_sounds(sounds, 16000, PAPER))[:, 0] * S.LOG_STD) * 10 / math.log(10)  # dB
    assert (change.amax(2) - change.amin(2)).max() < 1e-3
    curve = change[:, :, 0]
    assert curve.abs().max() > 0.5 and curve.abs().max() <= 2 * 6.0 and curve.diff(dim=1).abs().max() < 1
    assert not torch.allclose(curve[0], curve[1])


def test_tilt_draws_three_independent_shapes_of_equal_strength():
    sounds, curves = sounds_of(1), []
    for strengths in ({}, {"tilt": 1.0}, {"bend": 1.0}, {"twist": 1.0}):
        draws = FixedDraws(0.5, 1, **strengths)
        out = S.prepare_sounds(sounds, 16000, PAPER, replace(OFF, tilt=6.0), draws)
        curves.append((out - S.prepare_sounds(sounds, 16000, PAPER))[0, 0, :, 0])
    assert curves[0].abs().max() < 1e-5
    straight, bent, twisted = curves[1:]
    rows = torch.linspace(-1, 1, 257)
    assert torch.linalg.matrix_rank(torch.stack([straight, bent, twisted]), rtol=0.1) == 3
    assert torch.allclose(straight, straight[-1] * rows, atol=1e-3)  # a tilt: low frequencies down, high ones up
    strengths = [curve.abs().max().item() for curve in (straight, bent, twisted)]
    assert strengths == pytest.approx([strengths[0]] * 3, rel=0.01)


def test_mixing_adds_one_other_clips_sound_relative_to_the_clips_own_loudness():
    """Clips are sines of different pitch and loudness: the mixed-in peak is found at the other's pitch."""
    pitches, levels = [1000, 2000, 3000, 4000, 5000], [0.5, 0.25, 0.1, 0.05, 0.02]
    t = np.arange(16000) / 16000
    waves = np.stack([level * np.sin(2 * np.pi * pitch * t) for pitch, level in zip(pitches, levels, strict=True)])
    sounds, spec = torch.from_numpy(np.rint(32767 * waves).astype(np.int16)), Spectrogram(0.032, 0.02, 512)
    out = S.prepare_sounds(sounds, 16000, spec, replace(OFF, mix=0.5), always(1.0, 5))[:, 0, :, 20]
    power = torch.exp(out * S.LOG_STD + S.LOG_MEAN)
    partners = []
    for k in range(5):
        peaks = [power[k, pitch * 512 // 16000].item() for pitch in pitches]
        assert peaks[k] == pytest.approx((levels[k] / 2) ** 2, rel=0.02)
        partners += [other for other in range(5) if other != k and peaks[other] > 1e-3 * peaks[k]]
        assert peaks[partners[-1]] == pytest.approx(0.25 * peaks[k], rel=0.02)
    assert sorted(partners) == list(range(5))


def test_noise_raises_the_floor_by_its_share_of_the_mean_power():
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000) * 20000
    power = S.power_spectrogram(wave.short().float()[None] / 32768, 16000)
    out = S.prepare_sounds(wave.short()[None], 16000, PAPER, replace(OFF, noise=0.02), always(1.0, 1))
    floor = torch.exp(out[0, 0, 200] * S.LOG_STD + S.LOG_MEAN).median().item() - S.LOG_FLOOR
    assert floor == pytest.approx(0.02 * power.mean().item(), rel=0.01)


@pytest.mark.parametrize(("name", "axis"), [("freq_mask", 0), ("time_mask", 1)])
def test_masks_set_whole_bands_or_times_to_the_mean(name, axis):
    sounds = sounds_of(64)
    level = S.prepare_sounds(sounds, 16000, PAPER)[:, 0]
    augment = replace(OFF, **{name: 0.2})
    out = S.prepare_sounds(sounds, 16000, PAPER, augment, random_draws(64))[:, 0]
    changed = out != level
    hidden = changed.any(2 - axis)  # (B, F) or (B, T)
    assert (changed.sum(2 - axis)[hidden] > 0.99 * changed.shape[2 - axis]).all()  # from end to end
    means = level.mean((1, 2), keepdim=True).expand_as(out)
    assert torch.allclose(out[changed], means[changed], atol=1e-5)
    share = hidden.float().mean(1)
    assert share.max() <= 0.42 and 0.12 < share.mean() < 0.24  # two masks of 0..0.2 each, which may overlap
    assert (hidden.float().mean(0) > 0).float().mean() > 0.9  # anywhere
    # As wide as drawn, also at the very end: none is cut off there.
    for place in (0.0, 0.5, 1.0):
        draws = FixedDraws(1.0, 64, **{f"{name}_start_{k}": place for k in (1, 2)})
        out = S.prepare_sounds(sounds, 16000, PAPER, augment, draws)[:, 0]
        share = (out != level).any(2 - axis).float().mean(1)
        assert share.min() == share.max() == pytest.approx(0.2, abs=0.012)


@pytest.mark.parametrize("spec", [PAPER, DEMO], ids=["paper", "demo"])
def test_all_changes_of_sounds_together_are_the_formulas_in_double_precision(spec):
    sounds, augment, rate = sounds_of(5), replace(OFF, **EVERYTHING), 16000
    ours = S.prepare_sounds(sounds, rate, spec, augment, random_draws(5))
    draws = random_draws(5)
    waves = sounds.double() / 32768 * (1 + draws.uniform("gain", low=-1) * augment.gain)[:, None]
    level = waves.square().mean(1, keepdim=True).sqrt()
    waves = waves + level * (waves / level * draws.uniform("mix", high=augment.mix)[:, None]).roll(3, 0)
    if spec.equal_loudness:
        waves = waves * S.TARGET_RMS / waves.square().mean(1, keepdim=True).sqrt()
    power = S.power_spectrogram(waves, rate, spec.window, spec.hop, spec.n_fft)
    power = S.scale_frequencies(power, (1 + augment.pitch) ** draws.uniform("pitch", low=-1))
    if spec.n_mels:
        power = S.mel_filterbank(spec.n_mels, spec.n_fft, rate).double() @ power
    power = power + (draws.uniform("noise") ** 2 * augment.noise)[:, None, None] * power.mean((1, 2), keepdim=True)
    x = torch.linspace(-1, 1, power.shape[1])
    strengths = draws.uniform("tilt", "bend", "twist", low=-1).T[:, :, None]
    shapes = (x, 2 * x**2 - 1, 4 * x**3 - 3 * x)
    tilt = sum(a * shape for a, shape in zip(strengths, shapes, strict=True)) * augment.tilt / 3
    log = torch.log(power + S.LOG_FLOOR) + (tilt * math.log(10) / 10)[:, :, None]
    log = (log - S.LOG_MEAN) / S.LOG_STD
    rows = S.random_band_mask("freq_mask", power.shape[1], augment.freq_mask, draws)[:, :, None]
    columns = S.random_band_mask("time_mask", power.shape[2], augment.time_mask, draws)[:, None]
    log = torch.where(rows | columns, log.mean((1, 2), keepdim=True), log)
    assert (ours[:, 0] - log).abs().max() < 1e-5


def test_sounds_of_no_frame_are_silence_and_noise_by_turns_as_loud_as_told():
    torch.manual_seed(0)
    sounds = S.silence_and_noise(400, 2000)
    assert sounds.dtype == torch.int16 and sounds.shape == (400, 2000) and not sounds[::2].any()
    level = 20 * torch.log10(sounds[1::2].double().div(32768).std(dim=1))  # dB of full scale
    assert -61 < level.min() < -55 and -15 < level.max() < -9 and level.mean() == pytest.approx(-35, abs=4)
    torch.manual_seed(0)
    assert torch.equal(S.silence_and_noise(400, 2000), sounds)  # a resumed run draws the same
    silence = S.prepare_sounds(sounds[:1], 16000, PAPER)
    torch.testing.assert_close(silence, torch.full_like(silence, (math.log(S.LOG_FLOOR) - S.LOG_MEAN) / S.LOG_STD))


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_batch_gets_silence_and_noise_of_its_own_length_without_augmentation(seconds):
    config = Config(spectrogram=DEMO, augment=EVERYTHING)
    batch = {"sounds": torch.ones(3, seconds * 48000, dtype=torch.int16)}
    made = PairTransform(config, train=True).silence_and_noise(batch, 5)
    like = S.prepare_sounds(batch["sounds"], config.data.sample_rate, config.spectrogram)
    assert made.shape == (5, *like.shape[1:]) and made.dtype == torch.float32
    assert made[0].std() < 1e-5 and torch.equal(made[0], made[2]) and made[1].std() > 0.1
