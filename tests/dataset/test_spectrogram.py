"""The spectrogram that the nets see is the paper's and scipy's."""

import math
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from scipy.signal import get_window, spectrogram
from transform_cases import DEMO, EVERYTHING, OFF, PAPER, always, sounds_of

from configs.schema import Spectrogram
from dataset.transforms import sounds as S


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


@pytest.mark.parametrize(("bands", "n_fft", "rate"), [(64, 2048, 16000), (40, 4096, 48000)])
def test_mel_filters_equal_librosas_where_each_spans_several_bins(bands, n_fft, rate):
    """Slaney's normalization off, HTK's scale; narrower filters are widened to a bin, which librosa leaves empty."""
    oracle = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, htk=True, norm=None)
    np.testing.assert_allclose(S.mel_filterbank(bands, n_fft, rate), oracle, atol=1e-6)


def test_the_spectrogram_equals_librosas():
    wave = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    ours = S.power_spectrogram(torch.from_numpy(wave)[None], 48000)[0].numpy()[:, :199]
    # librosa puts a window of 480 samples into the middle of 512: 16 samples later than ours.
    padded = np.pad(wave, (16, 16))
    oracle = np.abs(librosa.stft(padded, n_fft=512, hop_length=240, win_length=480, center=False)) ** 2
    oracle = oracle[:, :199] / get_window("hann", 480).sum() ** 2
    assert (np.abs(ours - oracle) / oracle.mean(0)).max() < 1e-4
