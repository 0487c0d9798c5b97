"""Sounds to log spectrograms, batched on the device, with augmentation; transform a batch in cache-sized chunks."""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from dataset.random_stream import RandomStream
from utils.constants import constant

CHUNK_BYTES = 2 * 2**20  # bytes of float32 samples that a CPU transforms at a time
# Log power spectrograms of ordinary sounds lie around -12 +- 4 (natural log; a full-scale sine peaks at log 0.25).
LOG_MEAN, LOG_STD = -12.0, 4.0
LOG_FLOOR = 1e-8  # power that is added before the logarithm: -74 dB below a full-scale sine
TARGET_RMS = 0.1  # of sounds that are scaled to equal loudness


def prepare_sounds(
    sounds: Tensor, rate: int, spec: Any, augment: Any = None, random: RandomStream | None = None
) -> Tensor:
    """Compute normalized log spectrograms, and augment them.

    Args:
        sounds: (B, samples) int16.
        rate: sample rate, Hz.
        spec: the settings `configs.schema.Spectrogram`.
        augment: the settings `configs.schema.Augment`, or None for no augmentation.
        random: of the samples; needed with `augment`.

    Returns:
        (B, 1, F, T) float32 with a mean of about 0 and a standard deviation of about 1. F is n_fft / 2 + 1 or n_mels,
        T is samples / hop: (B, 1, 257, 200) for a second with the paper's settings.
    """
    waves = sounds.float().div_(32768)
    pitch = noise = curve = freq_mask = time_mask = None
    if augment is not None:
        assert random is not None, "augmentation needs random numbers"
        waves = _augment_waves(waves, augment, random)
        rows, columns = spec.n_mels or spec.n_fft // 2 + 1, waves.shape[1] // round(spec.hop * rate)
        pitch = (1 + augment.pitch) ** random.uniform("pitch", low=-1) if augment.pitch else None
        noise = random.uniform("noise") ** 2 * augment.noise if augment.noise else None
        curve = spectral_tilt(rows, augment.tilt, random) if augment.tilt else None
        freq_mask = random_band_mask("freq_mask", rows, augment.freq_mask, random) if augment.freq_mask else None
        time_mask = random_band_mask("time_mask", columns, augment.time_mask, random) if augment.time_mask else None
    filters = constant(mel_filterbank, waves.device, spec.n_mels, spec.n_fft, rate) if spec.n_mels else None
    transform = partial(log_spectrogram, filters=filters, rate=rate, spec=spec)
    return apply_in_chunks(transform, waves, pitch, noise, curve, freq_mask, time_mask)[:, None]


def silence_and_noise(count: int, samples: int, device: torch.device | str = "cpu") -> Tensor:
    """Make sounds that belong to no frame: by turns silence (zeros) and white noise, at any level from -60 to -10 dB.

    The noise comes from torch's global generator, which a training seeds for each batch.

    Args:
        count: number of sounds.
        samples: length of each.
        device: of the result.

    Returns:
        (count, samples) int16.
    """
    sounds = torch.zeros(count, samples, dtype=torch.int16, device=device)
    noisy = sounds[1::2]
    level = 10 ** (torch.rand(len(noisy), 1, device=device) * 2.5 - 3)  # RMS, of full scale 1
    noisy.copy_((torch.randn(noisy.shape, device=device) * level).clamp(-1, 1) * 32767)
    return sounds


def _augment_waves(waves: Tensor, augment: Any, random: RandomStream) -> Tensor:
    """Change the gain of (B, samples) waves, in place, and mix in other clips' sounds."""
    if augment.gain:
        waves.mul_((1 + augment.gain * random.uniform("gain", low=-1))[:, None])
    if not augment.mix:
        return waves
    level = waves.square().mean(1, keepdim=True).sqrt()
    other = waves * (random.uniform("mix", high=augment.mix)[:, None] / level.clamp(min=1e-4))
    return waves + level * other.roll(3, 0)  # not of the clip whose frame is blended in


def log_spectrogram(
    waves: Tensor,
    pitch: Tensor | None,
    noise: Tensor | None,
    curve: Tensor | None,
    freq_mask: Tensor | None,
    time_mask: Tensor | None,
    *,
    filters: Tensor | None,
    rate: int,
    spec: Any,
    power_of: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Compute normalized log spectrograms, with the augmentation that `prepare_sounds` has drawn.

    Args:
        waves: (B, samples) float32 in -1..1.
        pitch: (B,), factors of the frequencies, or None.
        noise: (B,), power of white noise over the sound's mean, or None.
        curve: (B, F), added to the logarithm, or None.
        freq_mask: (B, F) bool, or None.
        time_mask: (B, T) bool, or None.
        filters: (n_mels, bins), or None.
        rate: sample rate, Hz.
        spec: the settings `configs.schema.Spectrogram`.
        power_of: maps waves to their power (B, bins, T); None for `power_spectrogram`.

    Returns:
        (B, F, T) float32.
    """
    if spec.equal_loudness:
        waves = waves * (TARGET_RMS / waves.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4))
    power = power_of(waves) if power_of else power_spectrogram(waves, rate, spec.window, spec.hop, spec.n_fft)
    if pitch is not None:
        power = scale_frequencies(power, pitch)
    if filters is not None:
        power = filters @ power
    if noise is not None:
        power = power + noise[:, None, None] * power.mean((1, 2), keepdim=True)
    log = power.add_(LOG_FLOOR).log_()
    if curve is not None:
        log.add_(curve[:, :, None])
    log.sub_(LOG_MEAN).div_(LOG_STD)
    return mask_spectrogram(log, freq_mask, time_mask)


def power_spectrogram(waves: Tensor, rate: int, window: float = 0.01, hop: float = 0.005, n_fft: int = 512) -> Tensor:
    """Compute the power spectrogram of sounds (OtS sec. 3: 257 x 200 for a second at 48 kHz with the defaults).

    A periodic Hann window is zero-padded to `n_fft`; column k starts at sample k * hop. The sound is padded at its end
    only, by reflection, with what the last column lacks: 240 samples with the defaults, so that columns 0..198 contain
    nothing but sound. A sine of amplitude A peaks at (A / 2)^2, as in
    scipy.signal.spectrogram(mode="magnitude", scaling="spectrum") squared.

    Args:
        waves: (B, samples) float32 in -1..1.
        rate: sample rate, Hz.
        window: length of the window, seconds.
        hop: step between windows, seconds.
        n_fft: length of the Fourier transform, samples.

    Returns:
        (B, n_fft / 2 + 1, samples / hop) float32.
    """
    size, step = round(window * rate), round(hop * rate)
    columns = waves.shape[-1] // step
    lacking = (columns - 1) * step + size - waves.shape[-1]
    if lacking > 0:
        waves = torch.cat([waves, waves[:, -lacking - 1 : -1].flip(1)], 1)
    window_values = constant(unit_window, waves.device, size, waves.dtype)
    pieces = waves.unfold(-1, size, step)[:, :columns] * window_values  # (B, T, size)
    spectrum = torch.fft.rfft(pieces, n=n_fft)
    return spectrum.real.square().add_(spectrum.imag.square()).transpose(1, 2)


def unit_window(size: int, dtype: torch.dtype) -> Tensor:
    """Make a periodic Hann window of `size` samples with the sum 1: (size,) of `dtype`."""
    hann = torch.hann_window(size, periodic=True, dtype=dtype)
    return hann / hann.sum()


@cache
def mel_filterbank(bands: int, n_fft: int, rate: int) -> Tensor:
    """Compute triangular filters that are evenly spaced on the mel scale, 2595 log10(1 + f / 700), up to rate / 2.

    Args:
        bands: number of filters.
        n_fft: length of the Fourier transform, samples.
        rate: sample rate, Hz.

    Returns:
        (bands, n_fft / 2 + 1) float32; each filter peaks at 1 and is at least one bin wide.
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    edges = edges / (rate / n_fft)  # bins
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    low, high = torch.minimum(low, peak - 1), torch.maximum(high, peak + 1)  # else a triangle may fall between two bins
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    return torch.minimum(rising, falling).clamp(0, 1).float()


# ----------------------------------------------------------------------------------------------------- augmentation


def scale_frequencies(power: Tensor, factor: Tensor) -> Tensor:
    """Shift the pitch: move every frequency f of a spectrogram to f * factor; nothing moves in time.

    Args:
        power: (B, F, T).
        factor: (B,).

    Returns:
        (B, F, T).
    """
    source = constant(torch.arange, power.device, power.shape[1])[None] / factor[:, None]  # (B, F): row each comes from
    below = source.floor().clamp(max=power.shape[1] - 2)
    weight = (source - below).clamp(max=1)[:, :, None]
    index = below.long()[:, :, None].expand_as(power)
    return power.gather(1, index) * (1 - weight) + power.gather(1, index + 1) * weight


def spectral_tilt(rows: int, max_db: float, random: RandomStream) -> Tensor:
    """Draw curves that tilt and bend the spectrum, as another room and microphone would.

    Args:
        rows: of the spectrogram.
        max_db: largest change at the lowest and highest row, dB.
        random: of the B samples.

    Returns:
        (B, rows) float32, to be added to natural log power.
    """
    strengths = random.uniform("tilt", "bend", "twist", low=-1).unbind(1)  # 3 x (B,)
    shapes = constant(_tilt_shapes, strengths[0].device, rows)
    tilt, bend, twist = (a[:, None] * b for a, b in zip(strengths, shapes, strict=True))
    return (tilt + bend + twist) * (max_db * math.log(10) / 10 / 3)


def _tilt_shapes(rows: int) -> Tensor:
    """A line, a parabola and a cubic over the rows, each in -1..1: (3, rows)."""
    x = torch.linspace(-1, 1, rows)
    return torch.stack([x, 2 * x**2 - 1, 4 * x**3 - 3 * x])


def random_band_mask(name: str, size: int, max_fraction: float, random: RandomStream) -> Tensor:
    """Draw two random bands to mask.

    Args:
        name: of the mask, to draw by.
        size: positions along the masked axis.
        max_fraction: largest width of a band, as a fraction of the axis.
        random: of the B samples.

    Returns:
        (B, size) bool, True inside the bands.
    """
    width = random.uniform(f"{name}_width_1", f"{name}_width_2", high=max_fraction)[:, :, None]  # (B, 2, 1)
    start = random.uniform(f"{name}_start_1", f"{name}_start_2")[:, :, None] * (1 - width)
    position = constant(torch.linspace, width.device, 0, 1, size)
    return ((position >= start) & (position < start + width)).any(1)


def mask_spectrogram(log: Tensor, freq_mask: Tensor | None, time_mask: Tensor | None) -> Tensor:
    """Set masked rows and columns to the spectrogram's mean, in place (SpecAugment, arXiv 1904.08779).

    Args:
        log: (B, F, T).
        freq_mask: (B, F) bool, or None.
        time_mask: (B, T) bool, or None.

    Returns:
        `log`.
    """
    if freq_mask is None and time_mask is None:
        return log
    masks = [] if freq_mask is None else [freq_mask[:, :, None]]
    masks += [] if time_mask is None else [time_mask[:, None]]
    fill_masked(log, masks[0] if len(masks) == 1 else masks[0] | masks[1], log.mean((1, 2), keepdim=True))
    return log


# ---------------------------------------------------------------------------------------------------- speed on CPUs


def apply_in_chunks(transform: Callable[..., Tensor], *batch: Tensor | None) -> Tensor:
    """Apply `transform` to a batch, on a CPU in chunks of about 2 MiB.

    Args:
        transform: maps (b, ...) tensors to a (b, ...) tensor; row k depends on rows k only.
        batch: (B, ...) tensors or None; the first is a tensor.

    Returns:
        (B, ...) tensor.

    Chunks stay in the CPU cache between operations. They run on one thread: they are too small to share, and threads
    that wait for each other after every operation are many times slower where other processes use the cores too.
    """
    first = batch[0]
    assert first is not None
    if not len(first) or first.device.type != "cpu":
        return transform(*batch)
    rows = max(1, CHUNK_BYTES // (4 * first[0].numel()))
    chunks = [slice(start, start + rows) for start in range(0, len(first), rows)]
    with single_thread():
        parts = (transform(*(None if values is None else values[chunk] for values in batch)) for chunk in chunks)
        part = next(parts)
        if len(chunks) == 1:
            return part
        out = part.new_empty_strided((len(first), *part.shape[1:]), part.stride())
        out[chunks[0]] = part
        for chunk, part in zip(chunks[1:], parts, strict=True):
            out[chunk] = part
    return out


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one thread of the CPU in this context."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fill_masked(values: Tensor, mask: Tensor, fill: Tensor) -> None:
    """Fill `values` in place with `fill` where `mask` is True; a lerp, as `torch.where` is five times slower on a CPU.

    Args:
        values: (...) float32.
        mask: bool, broadcast to `values`.
        fill: float32, broadcast to `values`.
    """
    if values.device.type == "cpu":
        values.lerp_(fill, mask.to(values))
    else:
        torch.where(mask, fill, values, out=values)
