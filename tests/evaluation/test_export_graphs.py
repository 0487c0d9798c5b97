"""The graphs of an export against the transforms and nets that training uses."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import numbered, tone

from configs.demo_PixelPlayer import config as demo_pixels
from configs.schema import Config, Mix, Spectrogram
from dataset.transforms.frames import prepare_frames
from dataset.transforms.mixtures import MixtureSTFT
from dataset.transforms.sounds import mel_filterbank, prepare_sounds
from evaluation.exporting.graphs import Pixels
from evaluation.exporting.spectrograms import LogSpectrogram, MixtureTransformSTFT
from models import AVENet, AVOLNet, PixelPlayer
from models.folding import fold_batch_norms


def sounds(rate, seconds=1.0, count=4):
    waves = [tone(seconds, rate, 200 * (k + 1), 0.1 + 0.2 * k, overtones=3) for k in range(count)]
    waves = np.stack(waves) + 0.002 * np.random.default_rng(0).standard_normal(waves[0].shape)
    return (32767 * waves).astype(np.int16)


@pytest.mark.parametrize(
    ("rate", "spec"),
    [
        (48000, Spectrogram(window=0.01, hop=0.005, n_fft=512, n_mels=0, equal_loudness=False)),
        (16000, Spectrogram(window=0.032, hop=0.02, n_fft=512, n_mels=64, equal_loudness=True)),
        (8000, Spectrogram(window=0.02, hop=0.02, n_fft=256, n_mels=32)),
    ],
)
def test_the_spectrogram_as_a_convolution(rate, spec):
    given = torch.from_numpy(sounds(rate))
    filters = mel_filterbank(spec.n_mels, spec.n_fft, rate) if spec.n_mels else None
    graph = LogSpectrogram(rate, rate, spec, filters)
    expected = prepare_sounds(given, rate, spec)
    torch.testing.assert_close(graph(given / 32768), expected, atol=2e-4, rtol=0)
    assert graph(given / 32768).shape == expected.shape
    # Samples between two of int16 are rounded to them, as a file's would be.
    torch.testing.assert_close(graph((given + 0.3) / 32768), graph(given / 32768))


@pytest.mark.parametrize(("given", "size"), [(128, 112), (36, 32), (64, 64), (100, 224)])
def test_pixels_are_resized_and_normalized_as_in_training(given, size):
    frames = torch.from_numpy(np.stack([numbered(k, (given, given)) for k in (3, 700, 4000)]))
    torch.testing.assert_close(Pixels(given, size)(frames), prepare_frames(frames, size), atol=2e-5, rtol=0)
    stacks = torch.stack([frames, frames.flip(0)])
    torch.testing.assert_close(Pixels(given, size)(stacks), prepare_frames(stacks, size), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "mix", [demo_pixels.mix, dataclasses.replace(Mix(), samples=16384, n_fft=512, hop=128, freq_bins=0)]
)
def test_mixtures_are_transformed_and_transformed_back(mix):
    stft, graph = MixtureSTFT(mix), MixtureTransformSTFT(mix)
    waves = torch.from_numpy(sounds(8000, mix.samples / 8000)[:, : mix.samples]).float() / 32768
    spectra, (real, imaginary) = stft.stft(waves.double()), graph.transform(waves)
    np.testing.assert_allclose(torch.complex(real, imaginary), spectra, atol=1e-3)
    rows = mix.freq_bins or stft.bins
    masks = torch.rand(len(waves), 3, rows, spectra.shape[-1], generator=torch.Generator().manual_seed(0))
    found = graph.separate(masks, real, imaginary)
    expected = stft.apply_masks(masks.double(), spectra, mix.samples)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(graph.net_input(real, imaginary), stft.net_input(spectra), atol=0.02)


@pytest.mark.parametrize("net", [AVENet(4), AVOLNet(4), PixelPlayer(4, 4, 4, 5)])
def test_folded_batch_norms_change_nothing_but_rounding(net):
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            torch.nn.init.normal_(module.weight, 1, 0.2, generator)
    net.eval()
    folded = fold_batch_norms(net)
    count = [sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in one.modules()) for one in (net, folded)]
    assert count[1] < count[0] and (isinstance(net, PixelPlayer) or count[1] == 0)
    frames, spectrograms = (
        torch.randn(2, 3, 64, 64, generator=generator),
        torch.randn(2, 1, 64, 64, generator=generator),
    )
    if isinstance(net, PixelPlayer):
        frames = frames[None, :, None].expand(2, -1, -1, -1, -1, -1)
    with torch.no_grad():
        before, after = net(frames, spectrograms), folded(frames, spectrograms)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert Config().model.width == 64  # the net itself keeps its batch norms
