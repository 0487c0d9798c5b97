"""Mixtures of clips, batched on the device: their spectrograms, the masks that separate them, and back to sounds."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.loading.loader import Batch
from dataset.random_stream import RandomStream
from dataset.transforms.frames import prepare_frames, scale_strength
from dataset.transforms.sounds import prepare_sounds, spectral_tilt
from utils.constants import constant

MIN_MEAN = 1e-4  # magnitude by which the weights of a silent mixture are divided: about 16-bit rounding
MIN_WEIGHT, MAX_WEIGHT = 1e-3, 10.0  # of a time-frequency bin in the mask loss
MAX_RATIO = 5.0  # of ratio masks: sources may cancel out in their mixture
LOG_FREQ_BASE = 21.0  # spacing of the highest log-frequency rows over that of the lowest, as in the paper's public code


class MixtureTransform:
    """Turn a batch of mixture samples into tensors: frames, and sounds whose volume varies in training.

    Args:
        config: a `configs.schema.Config`.
        train: with augmentation.
    """

    def __init__(self, config: Any, train: bool) -> None:
        self.size, self.rate, self.spec = config.data.frame_size, config.data.sample_rate, config.spectrogram
        self.mix = config.mix
        self.augment = config.augment if train else None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Transform a collated batch on any device.

        Returns:
            frames (B, T, 3, S, S) float32, or of a batch with "features" in place of frames those, (B, T, C, h, w);
            waves (B, samples) float32 in -1..1, times their volume, unless mix.clip.
        """
        augment, random = self._augmentation(batch)
        with torch.autocast(batch["sounds"].device.type, enabled=False):  # half precision would round colors visibly
            waves = batch["sounds"].float() / 32768
            if random is not None:
                waves = self._augment_waves(waves, random)
            if "features" in batch:
                features = batch["features"].float()
                return features[:, None] if features.ndim == 4 else features, waves
            frames = prepare_frames(batch["frames"], self.size, augment, random)
        return frames[:, None] if frames.ndim == 4 else frames.transpose(1, 2), waves

    def _augment_waves(self, waves: Tensor, random: RandomStream) -> Tensor:
        """Change the speed, the spectrum and the volume of each of `waves`, (B, samples)."""
        if self.mix.speed:
            waves = change_speed(waves, (1 + self.mix.speed) ** random.uniform("speed", low=-1))
        if self.mix.tilt:
            curves = spectral_tilt(waves.shape[1] // 2 + 1, self.mix.tilt, random)  # of power
            waves = torch.fft.irfft(torch.fft.rfft(waves) * torch.exp(curves / 2), waves.shape[1])
        waves = waves * (1 + self.mix.volume * random.uniform("volume", low=-1))[:, None]
        return waves.clamp_(-1, 1) if self.mix.clip else waves

    def avc_spectrograms(self, batch: Batch) -> Tensor:
        """Compute the input of an AVC branch that learns with the separation net.

        Args:
            batch: as for a call.

        Returns:
            (B, 1, F, T) float32, see `prepare_sounds`.
        """
        augment, random = self._augmentation(batch)
        with torch.autocast(batch["sounds"].device.type, enabled=False):
            return prepare_sounds(batch["sounds"], self.rate, self.spec, augment, random)

    def _augmentation(self, batch: Batch) -> tuple[Any, RandomStream | None]:
        """The augmentation at this point of the run and its random numbers; None without augmentation."""
        if self.augment is None:
            return None, None
        return scale_strength(self.augment, batch.get("progress", 1.0)), RandomStream(batch["seeds"])


class MixtureSTFT:
    """Spectrograms and masks of mixtures (SoP sec. 3 and 4.2).

    Shapes: bins are the n_fft / 2 + 1 frequencies of the STFT, rows the mix.freq_bins log-spaced frequencies of the
    sound net (the bins, if that is 0), columns the samples // hop + 1 times.

    Args:
        mix: the settings `configs.schema.Mix`.
    """

    def __init__(self, mix: Any) -> None:
        self.mix = mix
        self.bins = mix.n_fft // 2 + 1

    def stft(self, waves: Tensor) -> Tensor:
        """Compute the STFT with a Hann window and zeros beyond the ends.

        Args:
            waves: (..., samples) float32.

        Returns:
            (..., bins, columns) complex64.
        """
        n_fft, hop = self.mix.n_fft, self.mix.hop
        window = constant(_hann_window, waves.device, n_fft, waves.dtype)
        flat = waves.flatten(0, -2)
        spectra = torch.stft(flat, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
        return spectra.unflatten(0, waves.shape[:-1])

    def istft(self, spectra: Tensor, samples: int) -> Tensor:
        """Compute the inverse of `stft`, as `torch.istft`, which would wait for a GPU to check the window.

        Args:
            spectra: (..., bins, columns) complex64.
            samples: of the waves.

        Returns:
            (..., samples) float32.
        """
        n_fft, hop, dtype, columns = self.mix.n_fft, self.mix.hop, spectra.real.dtype, spectra.shape[-1]
        window = constant(_hann_window, spectra.device, n_fft, dtype)
        weights = constant(_overlapped_window, spectra.device, n_fft, hop, columns, dtype)
        pieces = torch.fft.irfft(spectra.flatten(0, -3), n_fft, dim=1) * window[:, None]
        own = slice(n_fft // 2, n_fft // 2 + samples)  # without the zeros beyond the start
        waves = (_overlap_add(pieces, hop) / weights)[:, own]
        return F.pad(waves, (0, samples - waves.shape[1])).unflatten(0, spectra.shape[:-2])

    def to_log_freq(self, magnitudes: Tensor) -> Tensor:
        """Resample `magnitudes` from bins to rows, linearly: (B, C, bins, columns) -> (B, C, rows, columns)."""
        if not self.mix.freq_bins:
            return magnitudes
        return _resample_rows(magnitudes, log_freq_positions, self.mix.freq_bins)

    def to_linear_freq(self, masks: Tensor) -> Tensor:
        """Resample `masks` from rows to bins, linearly: (B, C, rows, columns) -> (B, C, bins, columns)."""
        return _resample_rows(masks, linear_freq_positions, self.bins) if self.mix.freq_bins else masks

    def net_input(self, mixture: Tensor) -> Tensor:
        """Compute the input of the sound net: the log magnitude.

        Args:
            mixture: (B, bins, columns) complex64.

        Returns:
            (B, 1, rows, columns) float32.
        """
        return torch.log(self.to_log_freq(mixture.abs()[:, None]) + self.mix.log_floor)

    def weights(self, mixture: Tensor) -> Tensor:
        """Compute the weight of each bin of the mask in the loss, see mix.weights.

        Args:
            mixture: (B, bins, columns) complex64.

        Returns:
            (B, 1, rows, columns) float32.
        """
        magnitudes = self.to_log_freq(mixture.abs()[:, None])
        if self.mix.weights == "log":
            return torch.log1p(magnitudes).clamp(MIN_WEIGHT, MAX_WEIGHT)
        if self.mix.weights == "linear":
            mean = magnitudes.mean((1, 2, 3), keepdim=True).clamp(min=MIN_MEAN)
            return (magnitudes / mean).clamp(MIN_WEIGHT, MAX_WEIGHT)
        return torch.ones_like(magnitudes)

    def targets(self, sources: Tensor, mixture: Tensor) -> Tensor:
        """Compute the ideal masks, the targets of training.

        Args:
            sources: (B, N, bins, columns) complex64; their sum is the mixture.
            mixture: (B, bins, columns) complex64.

        Returns:
            (B, N, rows, columns) float32, see `ideal_masks`.
        """
        return ideal_masks(self.to_log_freq(sources.abs()), self.to_log_freq(mixture.abs()[:, None]), self.mix.mask)

    def apply_masks(self, masks: Tensor, mixture: Tensor, samples: int) -> Tensor:
        """Separate a mixture: multiply it by masks and keep its phase (SoP sec. 4.2).

        Args:
            masks: (B, N, rows, columns) float32 in 0..1; with mix.mask "binary" they are thresholded at 0.5.
            mixture: (B, bins, columns) complex64.
            samples: of the sounds.

        Returns:
            (B, N, samples) float32.
        """
        return self.istft(self.bin_masks(masks) * mixture[:, None], samples)

    def bin_masks(self, masks: Tensor) -> Tensor:
        """Compute what each bin is multiplied by.

        Args:
            masks: (B, N, rows, columns) float32 in 0..1; with mix.mask "binary" they are thresholded at 0.5.

        Returns:
            (B, N, bins, columns) float32.
        """
        masks = self.to_linear_freq(masks)
        return (masks > 0.5).to(masks.dtype) if self.mix.mask == "binary" else masks


def _hann_window(size: int, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(size, dtype=dtype)


def _overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """Add up pieces of waves, (N, size, columns), each `hop` samples after the one before: (N, samples)."""
    _, size, columns = pieces.shape
    return F.fold(pieces, (1, hop * (columns - 1) + size), (1, size), stride=(1, hop)).flatten(1)


def _overlapped_window(size: int, hop: int, columns: int, dtype: torch.dtype) -> Tensor:
    """How much each sample counts in the sum of the pieces: (samples,); 1 where none does."""
    squares = _hann_window(size, dtype).square()
    sums = _overlap_add(squares[None, :, None].expand(1, size, columns), hop)[0]
    return torch.where(sums > 1e-11, sums, 1.0)


def change_speed(waves: Tensor, factors: Tensor) -> Tensor:
    """Play sounds faster or slower, which also moves their frequencies: linear interpolation.

    Args:
        waves: (B, samples).
        factors: (B,), above 0: 2 is twice as fast. Where the sound is over, it goes on backwards.

    Returns:
        (B, samples); the middle stays in the middle.
    """
    positions = torch.linspace(-1, 1, waves.shape[1], device=waves.device) * factors[:, None]  # (B, samples)
    grid = torch.stack([positions, torch.zeros_like(positions)], -1)[:, None]  # x, y: (B, 1, samples, 2)
    resampled = F.grid_sample(waves[:, None, None], grid, "bilinear", "reflection", align_corners=True)
    return resampled[:, 0, 0]


def stack_sources(values: Tensor, sources: int) -> Tensor:
    """Group the clips of a batch into mixtures: mixture b has the clips b, b + 1, ..., modulo B.

    So B clips give B mixtures, and the frames of a clip are embedded once for the N mixtures that it is in.

    Args:
        values: (B, ...), of the clips.
        sources: clips in a mixture, N.

    Returns:
        (B, N, ...).
    """
    return torch.stack([values.roll(-k, 0) for k in range(sources)], 1)


def ideal_masks(sources: Tensor, mixture: Tensor, kind: str) -> Tensor:
    """Compute the ideal masks of sources whose magnitudes are known (SoP sec. 3.2).

    Args:
        sources: (B, N, F, T) magnitudes.
        mixture: (B, 1, F, T) magnitudes.
        kind: "binary" or "soft": 1 where the source has more than half of the mixture's magnitude, else 0; "ratio":
            magnitude of the source over that of the mixture, 0..5.

    Returns:
        (B, N, F, T) float32.
    """
    if kind != "ratio":
        return (sources > 0.5 * mixture).to(mixture.dtype)
    return (sources / mixture.clamp(min=1e-8)).clamp(max=MAX_RATIO)


def log_freq_positions(rows: int) -> Tensor:
    """Compute where the log-spaced rows lie among the bins: row r of R at (21^(r / (R - 1)) - 1) / 20.

    Args:
        rows: R.

    Returns:
        (rows,) float64, from 0 for the lowest bin to 1 for the highest.
    """
    return (LOG_FREQ_BASE ** torch.linspace(0, 1, rows, dtype=torch.float64) - 1) / (LOG_FREQ_BASE - 1)


def linear_freq_positions(bins: int) -> Tensor:
    """Compute where the bins lie among the log-spaced rows, the inverse of `log_freq_positions`.

    Args:
        bins: number of bins.

    Returns:
        (bins,) float64, from 0 for the lowest row to 1 for the highest.
    """
    positions = torch.linspace(0, 1, bins, dtype=torch.float64)
    return torch.log1p(positions * (LOG_FREQ_BASE - 1)) / torch.log(torch.tensor(LOG_FREQ_BASE))


def _resample_rows(values: Tensor, places: Callable[[int], Tensor], rows: int) -> Tensor:
    """Resample (B, C, R, T) to `places` of `rows` in 0..1, from the center of the first row to that of the last."""
    grid = constant(_row_grid, values.device, places, rows, values.shape[-1], values.dtype)
    grid = grid.expand(len(values), -1, -1, -1)  # (B, rows, T, 2)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _row_grid(places: Callable[[int], Tensor], rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Where `_resample_rows` looks: (rows, T, 2), x and y in -1..1."""
    y = (2 * places(rows) - 1).to(dtype)
    return torch.stack(torch.meshgrid(torch.linspace(-1, 1, columns, dtype=dtype), y, indexing="xy"), -1)
