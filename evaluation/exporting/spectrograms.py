"""Spectrograms as convolutions with fixed weights, which every runtime computes: few have a Fourier transform."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.transforms.mixtures import MixtureSTFT
from dataset.transforms.sounds import log_spectrogram, unit_window

FULL_SCALE = 32768.0  # of int16


def round_to_int16(waves: Tensor) -> Tensor:
    """Round float `waves` in -1..1 to what 16 bits hold, as the nets get every sound: (...) -> (...)."""
    return (waves * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def fourier_rows(window: Tensor, n_fft: int) -> Tensor:
    """Compute the rows of a discrete Fourier transform of windowed samples.

    Args:
        window: (size,), up to n_fft samples, which are padded with zeros at their end.
        n_fft: length of the transform.

    Returns:
        (2 * bins, 1, size) float32, weights of a convolution: the real parts of all bins, then the imaginary parts.
    """
    bins, size = n_fft // 2 + 1, len(window)
    # Of the product of bin and sample only the remainder counts: exact in whole numbers, and the angle stays small.
    turns = (torch.arange(bins)[:, None] * torch.arange(size)[None]) % n_fft
    angles = 2 * math.pi * turns.double() / n_fft
    rows = torch.cat([torch.cos(angles), -torch.sin(angles)]) * window.double()
    return rows.float()[:, None]


class LogSpectrogram(nn.Module):
    """Sounds to the input of the nets, as `dataset.transforms.sounds.prepare_sounds`.

    Args:
        samples: length of a sound.
        rate: sample rate, Hz.
        spec: the settings `configs.schema.Spectrogram`.
        filters: (n_mels, bins), or None.
    """

    rows: Tensor
    filters: Tensor | None

    def __init__(self, samples: int, rate: int, spec: Any, filters: Tensor | None) -> None:
        super().__init__()
        self.rate, self.spec = rate, spec
        self.size, self.step = round(spec.window * rate), round(spec.hop * rate)
        self.columns = samples // self.step
        self.lacking = max((self.columns - 1) * self.step + self.size - samples, 0)
        self.register_buffer("rows", fourier_rows(unit_window(self.size, torch.float64), spec.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform `waves`, (B, samples) float32 in -1..1 -> (B, 1, F, T)."""
        waves = round_to_int16(waves)
        augmentation = (None,) * 5
        options = {"filters": self.filters, "rate": self.rate, "spec": self.spec, "power_of": self.power}
        return log_spectrogram(waves, *augmentation, **options)[:, None]

    def power(self, waves: Tensor) -> Tensor:
        """Compute the power spectrogram of `waves`, (B, samples) -> (B, bins, T)."""
        padded = F.pad(waves[:, None], (0, self.lacking), mode="reflect") if self.lacking else waves[:, None]
        real, imaginary = F.conv1d(padded, self.rows, stride=self.step)[:, :, : self.columns].chunk(2, 1)
        return real.square() + imaginary.square()


class MixtureTransformSTFT(nn.Module):
    """The short-time Fourier transform of mixtures and its inverse, as `dataset.transforms.mixtures.MixtureSTFT`.

    Args:
        mix: the settings `configs.schema.Mix`.
    """

    forward_rows: Tensor
    backward_rows: Tensor
    overlap: Tensor
    to_rows: Tensor
    to_bins: Tensor

    def __init__(self, mix: Any) -> None:
        super().__init__()
        self.mix, stft = mix, MixtureSTFT(mix)
        n_fft, self.padding = mix.n_fft, mix.n_fft // 2
        window = torch.hann_window(n_fft, dtype=torch.float64)
        self.register_buffer("forward_rows", fourier_rows(window, n_fft), persistent=False)
        inner = torch.full((stft.bins, 1, 1), 2.0)  # each stands for its mirror image, too
        inner[0] = inner[-1] = 1.0
        backward = fourier_rows(window, n_fft) * torch.cat([inner, inner]) / n_fft
        self.register_buffer("backward_rows", backward, persistent=False)
        columns = mix.samples // mix.hop + 1
        squares = window.square().float()[None, :, None].expand(1, n_fft, columns).contiguous()
        length = (columns - 1) * mix.hop + n_fft
        overlap = F.fold(squares, (1, length), (1, n_fft), stride=(1, mix.hop))[0, 0]
        self.register_buffer("overlap", overlap[:, self.padding : self.padding + mix.samples], persistent=False)
        eye = torch.eye(stft.bins, dtype=torch.float64)[None, None]
        self.register_buffer("to_rows", stft.to_log_freq(eye)[0, 0].float(), persistent=False)  # (rows, bins)
        eye = torch.eye(len(self.to_rows), dtype=torch.float64)[None, None]
        self.register_buffer("to_bins", stft.to_linear_freq(eye)[0, 0].float(), persistent=False)  # (bins, rows)

    def transform(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Transform `waves`, (B, samples) -> the real and the imaginary part, (B, bins, columns) each."""
        padded = F.pad(round_to_int16(waves)[:, None], (self.padding, self.padding))
        real, imaginary = F.conv1d(padded, self.forward_rows, stride=self.mix.hop).chunk(2, 1)
        return real, imaginary

    def net_input(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Compute the log magnitudes of `real` and `imaginary`, (B, bins, columns) -> (B, 1, rows, columns)."""
        magnitudes = (real.square() + imaginary.square()).sqrt()
        return torch.log(self.to_rows @ magnitudes + self.mix.log_floor)[:, None]

    def separate(self, masks: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
        """Multiply a mixture by masks, and transform it back.

        Args:
            masks: (B, N, rows, columns) in 0..1.
            real, imaginary: (B, bins, columns), of `transform`.

        Returns:
            (B, N, samples).
        """
        masks = self.to_bins @ masks
        if self.mix.mask == "binary":
            masks = (masks > 0.5).to(masks.dtype)
        parts = torch.cat([masks * real[:, None], masks * imaginary[:, None]], 2)  # (B, N, 2 * bins, columns)
        waves = F.conv_transpose1d(parts.flatten(0, 1), self.backward_rows, stride=self.mix.hop)
        waves = waves[:, 0, self.padding : self.padding + self.mix.samples] / self.overlap[0]
        return waves.unflatten(0, masks.shape[:2])
