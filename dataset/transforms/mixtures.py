"""Spectrograms of mixtures, batched, on the device: what the sound net sees, what it shall say, and back to sound."""

import torch
import torch.nn.functional as F

from dataset.pairs import RandomStream
from dataset.transforms.frames import prepare_frames, scale_strength
from dataset.transforms.sounds import prepare_sounds


class MixtureTransform:
    """From a collated batch of `Mixes` to tensors: augmented frames, and sounds whose volume varies in training.

    Args:
        config: a `Config`. train: with changes or without.
    """

    def __init__(self, config, train):
        self.size, self.rate, self.spec = config.data.frame_size, config.data.sample_rate, config.spectrogram
        self.volume = config.mix.volume if train else 0.0
        self.augment = config.augment if train else None

    def __call__(self, batch):
        """batch, on any device -> frames (B, T, 3, S, S), waves (B, samples) in -1..1 times the volume; float32."""
        augment, random = self._augment(batch)
        with torch.autocast(batch["sounds"].device.type, enabled=False):  # half precision would round colours visibly
            waves = batch["sounds"].float() / 32768
            if random:
                waves = waves * (1 + self.volume * random.uniform("volume", -1, 1, count=1))
            frames = prepare_frames(batch["frames"], self.size, augment, random)
        return frames[:, None] if frames.ndim == 4 else frames.transpose(1, 2), waves

    def matching(self, batch):
        """What AVE-Net sees of these sounds, where it learns with this net: batch -> (B, 1, F, T) float32."""
        augment, random = self._augment(batch)
        with torch.autocast(batch["sounds"].device.type, enabled=False):
            return prepare_sounds(batch["sounds"], self.rate, self.spec, augment, random)

    def _augment(self, batch):
        """The augmentation at this point of the run and the batch's random numbers; (None, None) in evaluation."""
        if self.augment is None:
            return None, None
        return scale_strength(self.augment, batch.get("progress", 1.0)), RandomStream(batch["seeds"])


MAGNITUDE_FLOOR = 1e-4  # magnitude under which nothing is told apart: what 16 bits leave of silence
MAX_WEIGHT, MIN_WEIGHT = 10.0, 1e-3  # of the weights
MAX_RATIO = 5.0  # of a ratio: two sources may cancel out in their mixture
LOG_FREQ_BASE = (
    21.0  # of the log-frequency rows: the lowest are 21 times closer than the highest, as in the paper's public code
)


class MixtureSTFT:
    """The spectrograms of a config's mixtures (SoP sec. 3 and 4.2).

    Args:
        mix: a `configs.schema.Mix`.
    """

    def __init__(self, mix):
        self.mix = mix
        self.bins = mix.n_fft // 2 + 1

    def stft(self, waves):
        """(..., samples) float32 -> (..., bins, samples // hop + 1) complex64: Hann window, zeros beyond the ends."""
        n_fft, hop = self.mix.n_fft, self.mix.hop
        window = torch.hann_window(n_fft, device=waves.device)
        flat = waves.flatten(0, -2)
        found = torch.stft(flat, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
        return found.unflatten(0, waves.shape[:-1])

    def waves(self, spectra, samples):
        """The inverse of `stft`: (..., bins, columns) complex64 -> (..., samples) float32."""
        window = torch.hann_window(self.mix.n_fft, device=spectra.device)
        flat = spectra.flatten(0, -3)
        found = torch.istft(flat, self.mix.n_fft, self.mix.hop, window=window, center=True, length=samples)
        return found.unflatten(0, spectra.shape[:-2])

    def to_log_freq(self, magnitudes):
        """From bins to the net's rows: (B, C, bins, columns) -> (B, C, rows, columns); linear in between."""
        return (
            magnitudes if not self.mix.freq_bins else _resample_rows(magnitudes, log_freq_positions(self.mix.freq_bins))
        )

    def to_linear_freq(self, masks):
        """From the net's rows back to bins: (B, C, rows, columns) -> (B, C, bins, columns); linear in between."""
        return masks if not self.mix.freq_bins else _resample_rows(masks, linear_freq_positions(self.bins))

    def net_input(self, mixture):
        """What the sound net sees: (B, bins, columns) complex -> (B, 1, rows, columns) float32, log magnitude."""
        return torch.log(self.to_log_freq(mixture.abs()[:, None]) + MAGNITUDE_FLOOR)

    def weights(self, mixture):
        """How much each place of the mask counts: (B, bins, columns) complex -> (B, 1, rows, columns) float32."""
        magnitudes = self.to_log_freq(mixture.abs()[:, None])
        if self.mix.weights == "log":
            return torch.log1p(magnitudes).clamp(MIN_WEIGHT, MAX_WEIGHT)
        if self.mix.weights == "linear":
            mean = magnitudes.mean((1, 2, 3), keepdim=True).clamp(min=MAGNITUDE_FLOOR)
            return (magnitudes / mean).clamp(MIN_WEIGHT, MAX_WEIGHT)
        return torch.ones_like(magnitudes)

    def targets(self, sources, mixture):
        """The masks that the net shall find, in its rows.

        Args:
            sources: (B, N, bins, columns) complex, which add up to the mixture. mixture: (B, bins, columns) complex.

        Returns:
            (B, N, rows, columns) float32; binary: 0 or 1; ratio: 0..5.
        """
        return ideal_masks(self.to_log_freq(sources.abs()), self.to_log_freq(mixture.abs()[:, None]), self.mix.mask)

    def apply_masks(self, masks, mixture, samples):
        """Sounds from the net's masks: mask times the mixture, with the mixture's phase (SoP sec. 4.2).

        Args:
            masks: (B, N, rows, columns) float32 in 0..1; with mix.mask "binary" they are cut at 0.5.
            mixture: (B, bins, columns) complex. samples: of the sounds.

        Returns:
            (B, N, samples) float32.
        """
        masks = self.to_linear_freq(masks)
        if self.mix.mask == "binary":
            masks = (masks > 0.5).float()
        return self.waves(masks * mixture[:, None], samples)


def stack_sources(values, sources):
    """The values of each mixture's clips: (B, ...) -> (B, N, ...), mixture b is of the clips b, b + 1, ..., in a ring.

    So B clips give B mixtures, and each clip's picture, which is looked at once, serves in N of them.
    """
    return torch.stack([values.roll(-k, 0) for k in range(sources)], 1)


def ideal_masks(sources, mixture, kind):
    """The masks of sources whose magnitudes are known (SoP sec. 3.2).

    Args:
        sources: (B, N, F, T) magnitudes. mixture: (B, 1, F, T) magnitudes.
        kind: "binary" or "soft": whether the source has more than half of the mixture's; "ratio": its share, 0..5.

    Returns:
        (B, N, F, T) float32.
    """
    if kind != "ratio":
        return (sources > 0.5 * mixture).float()
    return (sources / mixture.clamp(min=1e-8)).clamp(max=MAX_RATIO)


def log_freq_positions(rows):
    """Where in the bins the rows lie, (rows,) in 0..1: row r of R at (21^(r / (R - 1)) - 1) / 20 of the highest."""
    return (LOG_FREQ_BASE ** torch.linspace(0, 1, rows, dtype=torch.float64) - 1) / (LOG_FREQ_BASE - 1)


def linear_freq_positions(bins):
    """Where in the rows the bins lie, (bins,) in 0..1: the inverse of `row_places`."""
    return torch.log1p(torch.linspace(0, 1, bins, dtype=torch.float64) * (LOG_FREQ_BASE - 1)) / torch.log(
        torch.tensor(LOG_FREQ_BASE)
    )


def _resample_rows(values, places):
    """Rows of (B, C, R, T) at places in 0..1: 0 is the first row's centre and 1 the last's (align_corners)."""
    y = (2 * places - 1).float().to(values.device)
    x = torch.linspace(-1, 1, values.shape[-1], device=values.device)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(values), -1, -1, -1)  # (B, rows, T, 2)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=True)
