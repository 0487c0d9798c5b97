"""Sounds to log spectrograms, batched on the device, with augmentation; and batches transformed in cache-sized chunks."""

import contextlib
import math

import torch

CHUNK_BYTES = 2 * 2**20  # bytes of float32 samples that a CPU changes at a time


def apply_in_chunks(change, *samples):
    """`change` all samples; on a CPU a few at a time, so that each operation finds in the cache what the last one left.

    On one thread there: so few are no work to share, and threads that wait for each other after every operation take
    many times as long where other processes want the cores too.

    Args:
        change: callable of as many tensors, (b, ...) -> (b, ...), whose row k depends on rows k alone.
        samples: (B, ...) tensors, some of which may be None, but not the first.

    Returns:
        (B, ...), what `change` gives for all of them.
    """
    total, out = len(samples[0]), None
    if not total or samples[0].device.type != "cpu":
        return change(*samples)
    few = max(1, CHUNK_BYTES // (4 * samples[0][0].numel()))
    with single_thread():
        if total <= few:
            return change(*samples)
        for start in range(0, total, few):
            rows = slice(start, start + few)
            part = change(*(one if one is None else one[rows] for one in samples))
            if out is None:
                out = part.new_empty_strided((total, *part.shape[1:]), part.stride())
            out[rows] = part
    return out


@contextlib.contextmanager
def single_thread():
    """A context in which torch computes on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fill_masked(values, hidden, instead):
    """Write `instead` into `values` where `hidden`; as a mixture, since `torch.where` is five times slower on a CPU."""
    values.lerp_(instead, hidden.to(values))


# A log power spectrogram of ordinary sound lies around -12 +- 4 (natural log; a full-scale sine peaks at log 0.25).
LOG_MEAN, LOG_STD = -12.0, 4.0
LOG_FLOOR = 1e-8  # power under which nothing is told apart: -74 dB below a full-scale sine
TARGET_RMS = 0.1


def prepare_sounds(sounds, rate, spec, augment=None, random=None):
    """Log spectrograms of one second each, normalised.

    Args:
        sounds: (B, rate) int16.
        rate: Hz.
        spec: a `Spectrogram` config. augment, random: as in `prepare_frames`.

    Returns:
        (B, 1, F, T) float32, roughly of mean 0 and deviation 1; F = n_fft / 2 + 1 or n_mels, T = 1 / hop:
        (B, 1, 257, 200) with the paper's settings.
    """
    waves = sounds.float().div_(32768)
    if augment is not None:
        waves.mul_((1 + random.uniform("gain", -augment.gain, augment.gain))[:, None])
        if augment.mix:
            level = waves.square().mean(1, keepdim=True).sqrt()
            other = waves * (random.uniform("mix", 0, augment.mix)[:, None] / level.clamp(min=1e-4))
            waves = waves + level * other.roll(3, 0)  # not the clip whose frame was blended in
    changes = [None] * 5
    if augment is not None:
        rows, columns = spec.n_mels or spec.n_fft // 2 + 1, waves.shape[1] // round(spec.hop * rate)
        pitch = (1 + augment.pitch) ** random.uniform("pitch", -1, 1) if augment.pitch else None
        floor = random.uniform("noise") ** 2 * augment.noise if augment.noise else None
        curve = spectral_tilt(rows, augment.tilt, random) if augment.tilt else None
        freq_mask = random_band_mask("freq_mask", rows, augment.freq_mask, random)
        time_mask = random_band_mask("time_mask", columns, augment.time_mask, random)
        changes = pitch, floor, curve, freq_mask, time_mask
    filters = mel_filterbank(spec.n_mels, spec.n_fft, rate).to(waves) if spec.n_mels else None
    return apply_in_chunks(lambda *few: _transform_sounds(*few, filters, rate, spec), waves, *changes)[:, None]


def _transform_sounds(waves, pitch, floor, curve, rows, columns, filters, rate, spec):
    """From waves (B, rate) float32 to log spectrograms (B, F, T), with the numbers that `prepare_sounds` has drawn."""
    if spec.equal_loudness:
        waves = waves * (TARGET_RMS / waves.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4))
    power = power_spectrogram(waves, rate, spec.window, spec.hop, spec.n_fft)  # (B, F, T)
    if pitch is not None:
        power = scale_frequencies(power, pitch)
    if filters is not None:
        power = filters @ power
    if floor is not None:
        power = power + floor[:, None, None] * power.mean((1, 2), keepdim=True)
    log = power.add_(LOG_FLOOR).log_()
    if curve is not None:
        log.add_(curve[:, :, None])
    log.sub_(LOG_MEAN).div_(LOG_STD)
    return mask_spectrogram(log, rows, columns)


def power_spectrogram(waves, rate, window=0.01, hop=0.005, n_fft=512):
    """Power spectrogram of a second of sound (OtS sec. 3: 257 x 200 with the defaults at 48 kHz).

    A periodic Hann window of `window` seconds, zero-padded to `n_fft`, every `hop` seconds; column k starts at
    sample k * hop. The sound is padded at its end only, by reflection, with as much as the last column lacks: 240
    samples with the defaults, so that columns 0..198 see nothing but sound. Scaled so that a sine of amplitude A peaks
    at (A / 2)^2: scipy.signal.spectrogram(mode="magnitude", scaling="spectrum") squared.

    Args:
        waves: (B, samples) float32 in -1..1.
        rate: Hz. window, hop: seconds. n_fft: samples.

    Returns:
        (B, n_fft / 2 + 1, samples / hop) float32.
    """
    size, step = round(window * rate), round(hop * rate)
    columns = waves.shape[-1] // step
    lacking = (columns - 1) * step + size - waves.shape[-1]
    if lacking > 0:
        waves = torch.cat([waves, waves[:, -lacking - 1 : -1].flip(1)], 1)
    hann = torch.hann_window(size, periodic=True, device=waves.device)
    pieces = waves.unfold(-1, size, step)[:, :columns] * (hann / hann.sum())  # (B, T, size)
    spectrum = torch.fft.rfft(pieces, n=n_fft)
    return spectrum.real.square().add_(spectrum.imag.square()).transpose(1, 2)


def mel_filterbank(bands, n_fft, rate):
    """Triangular filters, evenly spaced on the mel scale (2595 log10(1 + f / 700)) from 0 to half the rate.

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


def scale_frequencies(power, factor):
    """Move every frequency f to f * factor, per sample: (B, F, T), (B,) -> (B, F, T). Nothing moves in time."""
    rows = (
        torch.arange(power.shape[1], device=power.device)[None] / factor[:, None]
    )  # (B, F): where each row comes from
    below = rows.floor().clamp(max=power.shape[1] - 2)
    share = (rows - below).clamp(max=1)[:, :, None]
    index = below.long()[:, :, None].expand_as(power)
    return power.gather(1, index) * (1 - share) + power.gather(1, index + 1) * share


def spectral_tilt(rows, most, random):
    """Curves that tilt and bend the spectrum as another room and microphone would: (B, rows), natural log power.

    Args:
        rows: of the spectrogram. most: dB at its ends.
    """
    strengths = random.uniform("tilt", -1, 1, count=3)[:, :, None].unbind(1)  # 3 of (B, 1)
    x = torch.linspace(-1, 1, rows, device=strengths[0].device)
    shapes = x, 2 * x**2 - 1, 4 * x**3 - 3 * x
    return sum(a * b for a, b in zip(strengths, shapes, strict=True)) * (most * math.log(10) / 10 / 3)


def random_band_mask(name, size, max_fraction, random):
    """Two random bands of up to `max_fraction` of `size` positions: (B, size) bool, True inside; None without them."""
    if not max_fraction:
        return None
    width = random.uniform(f"{name}_width", 0, max_fraction, count=2)[:, :, None]  # (B, 2, 1)
    start = random.uniform(f"{name}_start", count=2)[:, :, None] * (1 - width)
    position = torch.linspace(0, 1, size, device=width.device)
    return ((position >= start) & (position < start + width)).any(1)


def mask_spectrogram(log, rows, columns):
    """Set masked rows and columns to the spectrogram's mean, in place: (B, F, T), (B, F), (B, T) -> (B, F, T).

    As in SpecAugment (arXiv 1904.08779), without its time warp. Either may be None.
    """
    mean = log.mean((1, 2), keepdim=True)
    for hidden, axis in ((rows, 2), (columns, 1)):
        if hidden is not None:
            fill_masked(log, hidden.unsqueeze(axis), mean)
    return log
