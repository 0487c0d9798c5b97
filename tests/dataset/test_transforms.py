"""What the nets see: the spectrogram is the paper's and scipy's; each random change does what its setting says."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from helpers import FixedDraws
from PIL import Image
from scipy.signal import spectrogram

import dataset.transforms.sounds as sounds_module
from configs import demo_AVENet
from configs.schema import Augment, Config, Data, Spectrogram
from dataset.pairs import RandomStream, sample_seed
from dataset.transforms import frames as T
from dataset.transforms import sounds as S

OFF = Augment(crop_min=1.0, crop_max=1.0, flip=False, brightness=0, saturation=0, gain=0)
PAPER = Spectrogram()
DEMO = demo_AVENet.config.spectrogram
EVERYTHING = dict(
    crop_min=0.7, crop_max=1.1, flip=True, brightness=0.3, saturation=0.4, rotation=10, stretch=0.2, contrast=0.3,
    channel_gain=0.15, grey=0.3, erase=0.25, gain=0.1, tilt=6, noise=0.02, pitch=0.05, freq_mask=0.15, time_mask=0.15,
    blend=0.3, mix=0.3, hue=0.2,
)  # fmt: skip
SOUND_ONLY = {"gain", "mix", "tilt", "noise", "pitch", "freq_mask", "time_mask"}


def frames_of(count=2, side=64, seed=0):
    """Smooth random pictures: (count, side, side, 3) uint8, none near black or white."""
    rough = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 100 + 70
    smooth = torch.nn.functional.interpolate(rough, size=(side, side), mode="bicubic")
    return smooth.clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous()


def sounds_of(count=2, rate=16000, seed=0):
    """Noise under a slow envelope: (count, rate) int16."""
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal((count, rate)) * np.linspace(0.02, 0.2, rate)
    return torch.from_numpy(np.clip(wave * 32768, -32768, 32767).astype(np.int16))


def always(share, count=2):
    """Draws that all fall at the same place between their bounds: 0 the lowest, 1 the highest."""
    return FixedDraws(share, count)


def seeds_of(count, seed=0):
    return torch.tensor([sample_seed(seed, 0, f"clip{k}") for k in range(count)])


def random_draws(count, seed=0):
    return RandomStream(seeds_of(count, seed))


def seen(frames, size=64, augment=None, draws=None):
    """Frames in 0..1 again, after `prepare_frames`: (B, 3, S, S)."""
    out = T.prepare_frames(frames, size, augment, draws)
    return out * torch.tensor(T.FRAME_STD)[:, None, None] + torch.tensor(T.FRAME_MEAN)[:, None, None]


def plain(frames):
    return frames.permute(0, 3, 1, 2).float() / 255


def batch_of(config, count=4, seed=0):
    return {
        "frames": frames_of(count, config.data.resize_size),
        "sounds": sounds_of(count, config.data.sample_rate),
        "seeds": seeds_of(count, seed),
    }


# ---------------------------------------------------------------------------------------------------------- frames


def test_without_augmentation_a_frame_is_normalised_only():
    frames = frames_of()
    out = T.prepare_frames(frames, 64)
    assert out.shape == (2, 3, 64, 64) and out.dtype == torch.float32
    by_hand = (frames.numpy() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.abs(out.permute(0, 2, 3, 1).numpy() - by_hand).max() < 1e-5


def test_without_augmentation_the_whole_frame_is_resized_as_pillow_does():
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)  # pixel noise: aliasing would show
    for size in (48, 20):
        oracle = [
            np.asarray(Image.fromarray(f.numpy()).resize((size, size), Image.Resampling.BILINEAR)) for f in frames
        ]
        ours = seen(frames, size).permute(0, 2, 3, 1).numpy() * 255
        assert np.abs(ours - np.stack(oracle)).max() < 1.01


def test_augmentation_with_everything_off_changes_nothing():
    frames, sounds = frames_of(), sounds_of()
    for share in (0.0, 0.3, 0.999):
        assert torch.allclose(seen(frames, 64, OFF, always(share)), plain(frames), atol=1e-5)
        for spec in (PAPER, DEMO):
            ours = S.prepare_sounds(sounds, 16000, spec, OFF, always(share))
            assert torch.equal(ours, S.prepare_sounds(sounds, 16000, spec))


def test_a_crop_reaches_from_one_corner_to_the_other():
    frames, half = frames_of(), replace(OFF, crop_min=0.5, crop_max=0.5)
    for share, first in ((0.0, 0), (0.5, 16), (1.0, 32)):
        wanted = plain(frames)[:, :, first : first + 32, first : first + 32]
        assert torch.allclose(seen(frames, 32, half, always(share)), wanted, atol=1e-5)
    zoomed = seen(frames, 64, half, always(0.5))  # enlarged to the same size
    assert torch.allclose(torch.nn.functional.avg_pool2d(zoomed, 2), plain(frames)[:, :, 16:48, 16:48], atol=0.02)


def test_a_crop_above_1_shrinks_the_frame():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, crop_min=2.0, crop_max=2.0), always(0.5))
    wanted = torch.nn.functional.avg_pool2d(plain(frames), 2)
    assert torch.allclose(out[:, :, 16:48, 16:48], wanted, atol=0.02)


def test_a_flip_mirrors_left_and_right():
    frames, flip = frames_of(), replace(OFF, flip=True)
    assert torch.allclose(seen(frames, 64, flip, always(0.2)), plain(frames).flip(3), atol=1e-5)
    assert torch.allclose(seen(frames, 64, flip, always(0.8)), plain(frames), atol=1e-5)


def test_a_rotation_turns_the_frame():
    frames, turn = frames_of(), replace(OFF, rotation=90)
    turned = [seen(frames, 64, turn, always(share)) for share in (0.0, 1.0)]
    wanted = [torch.rot90(plain(frames), k, (2, 3)) for k in (1, 3)]
    found = {k for out in turned for k in (0, 1) if torch.allclose(out, wanted[k], atol=1e-4)}
    assert found == {0, 1}  # one each way


def test_a_stretch_changes_the_aspect_ratio_both_ways_and_keeps_the_area():
    frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    frame[:, 22:42, 22:42] = 200
    sizes = []
    for share in (0.0, 0.5, 1.0):
        out = seen(frame, 64, replace(OFF, stretch=0.44), always(share, 1))[0, 0] > 0.4
        sizes.append((int(out.any(1).sum()), int(out.any(0).sum())))
    assert sizes[1] == (20, 20)
    assert sorted(sizes[0]) == pytest.approx([20 / 1.2, 20 * 1.2], abs=1.5)
    assert sizes[0] == sizes[2][::-1]


def test_brightness_multiplies_and_clips():
    frames = frames_of()
    for share, factor in ((0.0, 0.7), (1.0, 1.3)):
        out = seen(frames, 64, replace(OFF, brightness=0.3), always(share))
        assert torch.allclose(out, (plain(frames) * factor).clamp(0, 1), atol=1e-5)
    white = torch.full((2, 64, 64, 3), 250, dtype=torch.uint8)
    assert seen(white, 64, replace(OFF, brightness=0.3), always(1.0)).max() < 1 + 1e-5


def test_saturation_moves_towards_grey_and_away_and_grey_loses_all_colour():
    frames = frames_of()
    luma = (plain(frames) * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    for share, factor in ((0.0, 0.6), (1.0, 1.4)):
        out = seen(frames, 64, replace(OFF, saturation=0.4), always(share))
        assert torch.allclose(out, (luma + factor * (plain(frames) - luma)).clamp(0, 1), atol=1e-5)
    grey = seen(frames, 64, replace(OFF, grey=0.5), always(0.49))
    assert torch.allclose(grey, luma.expand_as(grey), atol=1e-5)
    assert torch.allclose(seen(frames, 64, replace(OFF, grey=0.5), always(0.51)), plain(frames), atol=1e-5)


def test_contrast_turns_around_each_channels_mean():
    frames = frames_of()
    mean = plain(frames).mean((2, 3), keepdim=True)
    for share, factor in ((0.0, 0.7), (1.0, 1.3)):
        out = seen(frames, 64, replace(OFF, contrast=0.3), always(share))
        assert torch.allclose(out, mean + factor * (plain(frames) - mean), atol=1e-5)


def test_channel_gains_are_drawn_for_each_channel():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, channel_gain=0.2), random_draws(2))
    gains = (out / plain(frames)).flatten(2)
    assert (gains.amax(2) - gains.amin(2)).max() < 1e-4  # one number for a whole channel
    assert len({round(gain, 4) for gain in gains[:, :, 0].flatten().tolist()}) == 6
    assert ((gains - 1).abs() <= 0.2 + 1e-4).all()


def test_erasing_sets_a_square_to_the_mean_colour_and_nothing_else():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, erase=0.5), always(0.5))  # half of the largest side, in the middle
    changed = (out - plain(frames)).abs().amax(1) > 1e-4
    for k in range(2):
        rows, columns = changed[k].any(1).nonzero().flatten(), changed[k].any(0).nonzero().flatten()
        assert rows.min() == columns.min() == 24 and rows.max() == columns.max() == 39
        inside = out[k, :, 24:40, 24:40]
        assert torch.allclose(inside, plain(frames)[k].mean((1, 2))[:, None, None].expand_as(inside), atol=1e-4)


def test_hue_turns_colours_around_grey():
    frames = frames_of()
    quarter, luma = (seen(frames, 64, replace(OFF, hue=h), always(1.0)) for h in (0.5, 0.0))
    weights = torch.tensor(T.LUMA_WEIGHTS)[:, None, None]
    for out in (quarter, luma):  # as bright as it was
        torch.testing.assert_close((out * weights).sum(1), (plain(frames) * weights).sum(1), atol=0.01, rtol=0)
    assert (quarter - plain(frames)).abs().mean() > 0.03
    there, back = (T.hue_rotation(torch.tensor([share])) for share in (0.3, -0.3))
    torch.testing.assert_close(there @ back, torch.eye(3)[None], atol=1e-5, rtol=0)
    torch.testing.assert_close(T.hue_rotation(torch.tensor([2.0])), torch.eye(3)[None], atol=1e-4, rtol=0)  # all round


def test_blending_adds_one_other_clips_frame():
    frames = frames_of(5)
    out = seen(frames, 64, replace(OFF, blend=0.4), always(0.5, 5))
    partners = []
    for k in range(5):
        by_hand = [0.8 * plain(frames)[k] + 0.2 * plain(frames)[other] for other in range(5)]
        partners += [other for other in range(5) if torch.allclose(out[k], by_hand[other], atol=1e-5)]
    assert sorted(partners) == list(range(5)) and all(k != other for k, other in enumerate(partners))
    assert torch.allclose(seen(frames, 64, replace(OFF, blend=0.4), always(0.0, 5)), plain(frames), atol=1e-5)


def test_all_changes_of_frames_together_are_the_formulas_in_double_precision():
    """Square, then blending, in colours from 0 to 1; what is faster does the same."""
    frames, augment, size = frames_of(5), replace(OFF, **EVERYTHING), 48
    ours = T.prepare_frames(frames, size, augment, random_draws(5))
    draws = random_draws(5)
    theta, (matrix, contrast) = T.random_affine(augment, draws).double(), T.random_color_matrix(augment, draws)
    half, x, y = T.random_erasing(augment, draws)[:, :, None, None].unbind(1)
    share = draws.uniform("blend", high=augment.blend)[:, None, None, None].double()

    grid = torch.nn.functional.affine_grid(theta, (5, 3, size, size), align_corners=False)
    cropped = torch.nn.functional.grid_sample(
        plain(frames).double(), grid, padding_mode="reflection", align_corners=False
    )
    coloured = torch.einsum("bij,bjhw->bihw", matrix.double(), cropped)
    mean = coloured.mean((2, 3), keepdim=True)
    coloured = (mean + contrast.double()[:, None, None, None] * (coloured - mean)).clamp(0, 1)
    places = torch.linspace(-1, 1, size)
    inside = ((places[:, None] - y).abs() < half) & ((places - x).abs() < half)
    erased = torch.where(inside[:, None], coloured.mean((2, 3), keepdim=True), coloured)
    blended = (1 - share) * erased + share * erased.roll(1, 0)
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (T.FRAME_MEAN, T.FRAME_STD))
    assert (ours - (blended - mean) / std).abs().max() < 1e-5


# ----------------------------------------------------------------------------------------------------- spectrogram


def scipy_power(wave, rate, window, hop, n_fft):
    """(F, T') by scipy, without padding."""
    size = round(window * rate)
    _, _, magnitude = spectrogram(
        wave, rate, window="hann", nperseg=size, noverlap=size - round(hop * rate), nfft=n_fft, detrend=False,
        mode="magnitude", scaling="spectrum",
    )  # fmt: skip
    return magnitude**2


@pytest.mark.parametrize(("rate", "window", "hop", "n_fft", "shape", "inside"), [
    (48000, 0.01, 0.005, 512, (257, 200), 199),  # the paper's
    (16000, 0.032, 0.02, 512, (257, 50), 49),  # the demo's
    (44100, 0.01, 0.005, 512, (257, 200), 199),
    (22050, 0.02, 0.005, 1024, (513, 200), 197),
])  # fmt: skip
def test_the_spectrogram_equals_scipys(rate, window, hop, n_fft, shape, inside):
    waves = np.random.default_rng(0).standard_normal((2, rate)).astype(np.float32) * 0.1
    ours = S.power_spectrogram(torch.from_numpy(waves), rate, window, hop, n_fft)
    assert ours.shape == (2, *shape) and ours.dtype == torch.float32
    for k in range(2):
        oracle = scipy_power(waves[k].astype(np.float64), rate, window, hop, n_fft)
        count = min(oracle.shape[1], shape[1])
        assert count >= inside
        # Relative to each column's mean power: single bins of noise come arbitrarily close to zero.
        error = np.abs(ours[k, :, :count].numpy() - oracle[:, :count])
        assert (error <= 1e-4 * oracle[:, :count] + 1e-6 * oracle[:, :count].mean(0)).all()


def test_the_last_column_sees_the_reflected_end():
    wave = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    ours = S.power_spectrogram(torch.from_numpy(wave)[None], 48000)[0, :, 199].numpy()
    end = np.concatenate([wave[-240:], wave[-2:-242:-1]]).astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
    by_hand = np.abs(np.fft.rfft(end * hann / hann.sum(), 512)) ** 2
    assert np.abs(ours - by_hand).max() < 1e-4 * by_hand.max()


def test_a_sine_peaks_at_its_frequency_with_a_quarter_of_its_squared_amplitude():
    for amplitude in (1.0, 0.1):
        wave = amplitude * torch.sin(2 * math.pi * 6000 * torch.arange(48000) / 48000)
        power = S.power_spectrogram(wave[None], 48000)[0]
        assert (power[:, :199].argmax(0) == 6000 * 512 / 48000).all()
        assert power[64, :199] == pytest.approx(amplitude**2 / 4, rel=1e-3)


def test_a_click_is_seen_in_the_columns_of_its_time():
    wave = torch.zeros(1, 48000)
    wave[0, 24000] = 1.0
    loud = S.power_spectrogram(wave, 48000)[0].sum(0) > 1e-9
    assert loud.nonzero().flatten().tolist() == [99]  # 100 begins at the click, where its window is 0
    wave[0, 24100] = 1.0
    assert (S.power_spectrogram(wave, 48000)[0].sum(0) > 1e-9).nonzero().flatten().tolist() == [99, 100]


def test_the_net_sees_the_normalised_logarithm():
    sounds = sounds_of(2, 48000)
    out = S.prepare_sounds(sounds, 48000, PAPER)
    assert out.shape == (2, 1, 257, 200) and out.dtype == torch.float32
    power = scipy_power(sounds[0].numpy() / 32768.0, 48000, 0.01, 0.005, 512)
    by_hand = (np.log(power + S.LOG_FLOOR) - S.LOG_MEAN) / S.LOG_STD
    assert np.abs(out[0, 0, :, :199].numpy() - by_hand).max() < 1e-3
    assert abs(out.mean()) < 2 and 0.1 < out.std() < 2


@pytest.mark.parametrize(
    ("bands", "n_fft", "rate"),
    [(64, 512, 16000), (40, 512, 16000), (64, 1024, 48000), (128, 2048, 48000), (64, 512, 48000)],
)
def test_mel_filters_cover_all_bins_and_none_is_empty(bands, n_fft, rate):
    filters = S.mel_filterbank(bands, n_fft, rate)
    assert filters.shape == (bands, n_fft // 2 + 1)
    assert (filters >= 0).all() and (filters.amax(1) > 0.1).all() and filters.max() <= 1
    assert (filters.sum(0)[1:-1] > 0).all()
    peaks = filters.argmax(1)
    assert (peaks.diff() >= 0).all() and peaks[-1] > 0.85 * n_fft / 2
    # By hand: the middle filter's peak frequency on the mel scale.
    top = 2595 * math.log10(1 + rate / 2 / 700)
    middle = 700 * (10 ** (top * (bands // 2 + 1) / (bands + 1) / 2595) - 1)
    assert abs(peaks[bands // 2] * rate / n_fft - middle) <= rate / n_fft


def test_mel_bands_sum_up_the_power_under_their_filters():
    sounds, spec = sounds_of(2, 16000), Spectrogram(window=0.032, hop=0.02, n_fft=512, n_mels=64)
    power = S.power_spectrogram(sounds.float() / 32768, 16000, 0.032, 0.02, 512)
    by_hand = np.log(S.mel_filterbank(64, 512, 16000).numpy() @ power.numpy() + S.LOG_FLOOR)
    out = S.prepare_sounds(sounds, 16000, spec)
    assert out.shape == (2, 1, 64, 50)
    assert np.abs(out[:, 0].numpy() - (by_hand - S.LOG_MEAN) / S.LOG_STD).max() < 1e-3


@pytest.mark.parametrize("spec", [PAPER, DEMO], ids=["paper", "demo"])
def test_silence_and_the_loudest_sound_stay_finite(spec):
    extreme = torch.zeros(4, 16000, dtype=torch.int16)
    extreme[1] = 32767
    extreme[2, ::2], extreme[2, 1::2] = 32767, -32768
    extreme[3, 7] = 1
    for augment in (None, replace(OFF, **EVERYTHING)):
        for share in (0.0, 0.999):
            out = S.prepare_sounds(extreme, 16000, spec, augment, always(share, 4))
            assert torch.isfinite(out).all() and out.abs().max() < 10


def test_equal_loudness_takes_the_amplitude_away():
    loud = sounds_of(2)
    quiet = (loud.float() / 8).round().short()
    even = Spectrogram(equal_loudness=True)
    assert (S.prepare_sounds(loud, 16000, even) - S.prepare_sounds(quiet, 16000, even)).abs().mean() < 0.01
    assert (S.prepare_sounds(loud, 16000, PAPER) - S.prepare_sounds(quiet, 16000, PAPER)).mean() > 0.5


# --------------------------------------------------------------------------------------------------- sound changes


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


# ------------------------------------------------------------------------------------------------------ as a whole


@pytest.mark.parametrize("train", [True, False])
def test_shapes_of_the_papers_and_the_demos_settings(train):
    frames, sounds = T.PairTransform(Config(), train)(batch_of(Config()))
    assert frames.shape == (4, 3, 224, 224) and sounds.shape == (4, 1, 257, 200)
    config = demo_AVENet.config
    frames, sounds = T.PairTransform(config, train)(batch_of(config))
    size, bands = config.data.frame_size, config.spectrogram.n_mels
    assert frames.shape == (4, 3, size, size)
    assert sounds.shape == (4, 1, bands, round(1 / config.spectrogram.hop))
    assert frames.dtype == sounds.dtype == torch.float32


def small(**changes):
    """A small config with these augmentations alone."""
    return Config(
        data=Data(frame_size=48, resize_size=64, sample_rate=8000),
        spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=256),
        augment=replace(OFF, **changes),
    )


def test_seeds_decide_everything():
    """Same seeds, same picture, whatever the global generator does; other seeds, another; in evaluation none matter."""
    config = small(**EVERYTHING)
    see, plainly = T.PairTransform(config, train=True), T.PairTransform(config, train=False)
    batch = batch_of(config)
    other = batch | {"seeds": seeds_of(4, seed=1)}
    torch.manual_seed(1)
    ours = see(batch)
    torch.manual_seed(2)
    for first, again, different in zip(ours, see(batch), see(other), strict=True):
        assert torch.equal(first, again)
        assert all(not torch.allclose(a, b, atol=1e-2) for a, b in zip(first, different, strict=True))
    for one, two in zip(plainly(batch), plainly(other), strict=True):
        assert torch.equal(one, two)


def test_each_change_has_draws_of_its_own():
    """One draw for several changes would tie them together: bright pictures would always be red, say."""
    config = small(channel_gain=0.2, brightness=0.2)
    out = T.PairTransform(config, train=True)(batch_of(config, count=16))[0]
    off = T.PairTransform(small(), train=True)(batch_of(config, count=16))[0]
    mean, std = torch.tensor(T.FRAME_MEAN)[:, None, None], torch.tensor(T.FRAME_STD)[:, None, None]
    gains = ((out * std + mean) / (off * std + mean))[:, :, 24, 24]  # (16, 3)
    assert np.abs(np.corrcoef(gains.T) - np.eye(3)).max() < 0.9
    assert (gains.amax(1) - gains.amin(1)).median() > 0.05


def test_all_changes_together_stay_finite():
    assert {field.name for field in fields(Augment)} == {*EVERYTHING, "ramp"}  # a new setting belongs into these tests
    config = small(**EVERYTHING)
    frames, sounds = T.PairTransform(config, train=True)(batch_of(config))
    assert torch.isfinite(frames).all() and torch.isfinite(sounds).all()


def test_augmentation_grows_from_nothing_to_its_full_strength():
    config = small(**(EVERYTHING | {"flip": False, "ramp": 0.5}))
    see, batch = T.PairTransform(config, train=True), batch_of(config)
    nothing = T.PairTransform(small(), train=True)(batch)
    full = T.PairTransform(small(**(EVERYTHING | {"flip": False})), train=True)(batch)
    at = {progress: see(batch | {"progress": progress}) for progress in (0.0, 0.25, 0.5, 0.9, 1.0)}
    for k in range(2):
        assert torch.allclose(at[0.0][k], nothing[k], atol=1e-5)
        assert all(torch.allclose(at[progress][k], full[k]) for progress in (0.5, 0.9, 1.0))
        between = (at[0.25][k] - nothing[k]).abs().mean(), (full[k] - nothing[k]).abs().mean()
        assert 0.1 * between[1] < between[0] < 0.9 * between[1]


def test_a_sample_does_not_depend_on_its_batch():
    """But for the changes that bring in another clip."""
    config = small(**(EVERYTHING | {"blend": 0, "mix": 0}))
    see, batch = T.PairTransform(config, train=True), batch_of(config)
    together = see(batch)
    for k in range(4):
        alone = see({key: value[k : k + 1] for key, value in batch.items()})
        assert all(torch.allclose(a[0], b[k], atol=1e-4) for a, b in zip(alone, together, strict=True))


def test_threads_are_as_many_as_before():
    before, inside = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        sounds_module.apply_in_chunks(lambda x: inside.append(torch.get_num_threads()) or x, torch.zeros(3, 2))
        with pytest.raises(ZeroDivisionError):
            sounds_module.apply_in_chunks(lambda x: x / (1 // 0), torch.zeros(3, 2))
        assert inside == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["one frame", "several frames", "flow", "other sounds"])
def test_how_many_samples_are_changed_at_a_time_makes_no_difference(kind, monkeypatch):
    """Also of the changes that bring in another clip, which may be one that is changed before or after."""
    config = small(**EVERYTHING)
    batch = batch_of(config, count=7)
    if kind == "several frames":
        batch["frames"] = torch.stack([frames_of(7, 64, seed) for seed in range(3)], 1)
    if kind == "flow":
        batch["flows"] = frames_of(7, 64).char().repeat(1, 1, 1, 2)[..., :4]
    if kind == "other sounds":
        batch["sounds"] = torch.cat([batch["sounds"], sounds_of(7, 8000, 1)])
    for train in (True, False):
        found = []
        for count in (1, 3, 100):
            monkeypatch.setattr(sounds_module, "CHUNK_BYTES", count * 4 * batch["frames"][0].numel())
            found.append(T.PairTransform(config, train)(batch))
        for frames, sounds in found[:2]:
            torch.testing.assert_close(frames, found[2][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(sounds, found[2][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(EVERYTHING) - {"crop_max"}))
def test_every_setting_does_something_to_its_own_half_only(name):
    """An option that never takes effect, or reaches into the other modality, is a bug that no loss curve shows."""
    changes = {key: EVERYTHING[key] for key in ((name, "crop_max") if name == "crop_min" else (name,))}
    config = small(**changes)
    batch = batch_of(config, count=16)
    frames, sounds = T.PairTransform(config, train=True)(batch)
    frames_off, sounds_off = T.PairTransform(small(), train=True)(batch)
    changed = ((frames - frames_off).abs().amax((1, 2, 3)) > 1e-3, (sounds - sounds_off).abs().amax((1, 2, 3)) > 1e-3)
    assert bool(changed[0].any()) == (name not in SOUND_ONLY)
    assert bool(changed[1].any()) == (name in SOUND_ONLY)


@pytest.mark.parametrize("config", [Config(), demo_AVENet.config], ids=["paper", "demo"])
@pytest.mark.parametrize("train", [True, False])
def test_bf16_autocast_costs_the_input_no_precision(config, train):
    """Training calls the transform under autocast; log power in half precision would be off by more than a unit."""
    see, batch = T.PairTransform(config, train), batch_of(config)
    frames, sounds = see(batch)
    with torch.autocast("cpu", torch.bfloat16):
        frames_16, sounds_16 = see(batch)
    assert sounds_16.dtype == torch.float32 and (sounds_16 - sounds).abs().max() < 1e-3
    assert frames_16.dtype == torch.float32 and (frames_16 - frames).abs().max() < 1e-3
