"""Batched, on the device: log spectrograms, normalisation, augmentation.

A random change takes its numbers from `draws` of the sample, (B, DRAWS) float32 in 0..1, never from a global
generator: a batch looks the same wherever and whenever it is made. Only `blend` and `mix` look at other samples of it.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601
# The usual constants of ImageNet, so that pretrained nets see what they know.
FRAME_MEAN, FRAME_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A log power spectrogram of ordinary sound lies around -12 +- 4 (natural log; a full-scale sine peaks at log 0.25).
LOG_MEAN, LOG_STD = -12.0, 4.0
LOG_FLOOR = 1e-8  # power under which nothing is told apart: -74 dB below a full-scale sine
EQUAL_RMS = 0.1
FLOW_STEP = 20 / 127  # of flow kept as int8, pixels: at most 20


class Transform:
    """From a collated batch to what the nets see.

    Args:
        config: a `Config`; its sections data, spectrogram and augment are used.
        train: with augmentation or without.
    """

    def __init__(self, config, train):
        self.data, self.spec = config.data, config.spectrogram
        self.augment = config.augment if train else None

    def __call__(self, batch):
        """batch: `collate`'s, on any device -> frames (B, 3, S, S), spectrograms (B or 2 B, 1, F, T), both float32.

        Several frames come as (B, 3, T, S, S); flow as further channels of the frame, (B, 3 + 2 * fields, S, S).
        """
        draws = Draws(batch["draws"][:, 2:])  # the first two chose the instant
        augment = self.augment and ramped(self.augment, batch.get("progress", 1.0))
        # Half precision would round colours visibly and be off by more than a unit of log power.
        with torch.autocast(batch["sounds"].device.type, enabled=False):
            frames = prepare_frames(batch["frames"], self.data.frame_size, augment, draws, batch.get("flows"))
            if len(batch["sounds"]) > len(frames):  # each clip's other second of sound gets the same changes
                draws.draws = draws.draws.repeat(2, 1)
            return frames, prepare_sounds(batch["sounds"], self.data.sample_rate, self.spec, augment, draws)


def ramped(augment, progress):
    """The augmentation at a share `progress` (0..1) of the run: it grows from nothing until `augment.ramp`.

    Nets that see clean clips first find what belongs together several times sooner; the changes are needed later,
    against learning the clips by heart (docs/starting_well.md).
    """
    strength = min(progress / augment.ramp, 1.0) if augment.ramp else 1.0
    fixed = {"flip", "ramp", "crop_min", "crop_max"}
    scaled = {f.name: getattr(augment, f.name) * strength for f in dataclasses.fields(augment) if f.name not in fixed}
    crops = {name: 1 - (1 - getattr(augment, name)) * strength for name in ("crop_min", "crop_max")}
    return dataclasses.replace(augment, **scaled, **crops)


class Draws:
    """Hands out one column of random numbers after the other."""

    def __init__(self, draws):
        self.draws, self.used = draws, 0

    def __call__(self, low=-1.0, high=1.0):
        """(B,) uniform in low..high."""
        self.used += 1
        return low + (high - low) * self.draws[:, self.used - 1]


# ---------------------------------------------------------------------------------------------------------- frames


def prepare_frames(frames, size, augment=None, draws=None, flows=None):
    """Crop, jitter and normalise. All frames and the flow of a sample are changed alike.

    Args:
        frames: (B, S, S, 3) uint8 RGB, or (B, T, S, S, 3).
        size: side of the result, pixels.
        augment: an `Augment`, or None for the whole frame as it is.
        draws: a callable (low, high) -> (B,) of random numbers; only with `augment`.
        flows: (B, S, S, 2 * fields) int8 beside one frame, see `dataset.flow`, or None.

    Returns:
        (B, 3, size, size) float32, normalised by FRAME_MEAN and FRAME_STD; of several frames (B, 3, T, size, size).
        With flows (B, 3 + 2 * fields, size, size): their vectors are in pixels of the result.
    """
    count = 1 if frames.ndim == 4 else frames.shape[1]
    pixels = frames.permute(0, 3, 1, 2) if frames.ndim == 4 else frames.permute(0, 1, 4, 2, 3).flatten(1, 2)
    pixels = pixels.float() / 255  # (B, 3, S, S), channels last in memory; or (B, T * 3, S, S)
    theta = None if augment is None else crop(augment, draws)
    pixels = resample(pixels, size, theta)
    if count > 1:  # one below the other: what follows sees one tall picture, so that all get the same change
        pixels = pixels.unflatten(1, (count, 3)).transpose(1, 2).flatten(2, 3)  # (B, 3, T * size, size)
    if augment is not None:
        pixels = jitter_colours(pixels, augment, draws, count)
        if augment.blend:
            share = draws(0, augment.blend)[:, None, None, None]
            pixels = (1 - share) * pixels + share * pixels.roll(1, 0)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (FRAME_MEAN, FRAME_STD))
    pixels = (pixels - mean) / std
    if flows is not None:
        return torch.cat([pixels, prepare_flows(flows, size, theta)], 1)
    return pixels if frames.ndim == 4 else pixels.unflatten(2, (count, size))


def prepare_flows(flows, size, theta=None):
    """Flow as it is between frames that `theta` crops, flips, turns and stretches.

    Neither erasing nor blending reaches it: both are changes of the frame alone.

    Args:
        flows: (B, S, S, 2 * fields) int8, see `dataset.flow`.
        size: side of the result, pixels. theta: of `crop`, or None.

    Returns:
        (B, 2 * fields, size, size) float32, u and v of each field in turn, in pixels of the result.
    """
    scale = size / flows.shape[1] * FLOW_STEP
    vectors = resample(flows.permute(0, 3, 1, 2).float(), size, theta) * scale  # (B, 2 * fields, size, size)
    if theta is None:
        return vectors
    vectors = vectors.unflatten(1, (-1, 2))  # (B, fields, 2, size, size)
    # Where the frame is continued by its mirror image, motion is mirrored too.
    mirrored = grid_of(theta, size).abs().permute(0, 3, 1, 2)[:, None] > 1  # (B, 1, 2, size, size)
    vectors = torch.where(mirrored, -vectors, vectors)
    # theta leads from places of the result to places of the frame, so its inverse leads their differences back.
    return torch.einsum("bij,bfjhw->bfihw", torch.linalg.inv_ex(theta[:, :, :2])[0], vectors).flatten(1, 2)


def crop(augment, draws):
    """Random crop, flip, rotation and stretch: (B, 2, 3), from places of the result to places of the frame, -1..1."""
    side = draws(augment.crop_min, augment.crop_max)
    flip = torch.where(draws() < 0, -1.0, 1.0) if augment.flip else torch.ones_like(side)
    angle = draws() * math.radians(augment.rotation)
    stretch = (1 + augment.stretch) ** (draws() / 2)
    room = (1 - side).abs()  # how far the crop's centre can move, in half frames
    x, y = draws() * room, draws() * room
    cos, sin = torch.cos(angle) * side, torch.sin(angle) * side
    across = torch.stack([cos * stretch * flip, -sin * stretch, x], 1)
    down = torch.stack([sin * flip / stretch, cos / stretch, y], 1)
    return torch.stack([across, down], 1)


def grid_of(theta, size):
    """The places of the frame that the pixels of the result show: (B, 2, 3) -> (B, size, size, 2), x and y."""
    return F.affine_grid(theta, (len(theta), 3, size, size), align_corners=False)


def resample(pixels, size, theta=None):
    """The picture that `theta` shows in one bilinear resampling, or the whole: (B, C, S, S) -> (B, C, size, size)."""
    if theta is not None:
        grid = grid_of(theta, size)
        return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return pixels


def turned_hues(share):
    """Turn the colour circle by a share of half of it, around grey: (B,) in -1..1 -> (B, 3, 3), RGB to RGB."""
    to_yiq = torch.tensor([GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], device=share.device)
    cos, sin = torch.cos(math.pi * share), torch.sin(math.pi * share)
    turn = torch.zeros(len(share), 3, 3, device=share.device)
    turn[:, 0, 0], turn[:, 1, 1], turn[:, 2, 2], turn[:, 1, 2], turn[:, 2, 1] = 1, cos, cos, -sin, sin
    return torch.linalg.inv(to_yiq) @ turn @ to_yiq


def random_squares(pixels, largest, draws, count=1):
    """A square of up to `largest` of the frame's side, anywhere: (B, 3, H, W) -> (B, 1, H, W) bool, True inside."""
    half = draws(0, largest)[:, None, None]
    x, y = draws()[:, None, None], draws()[:, None, None]
    rows = torch.linspace(-1, 1, pixels.shape[2] // count, device=pixels.device).repeat(count)[None, :, None]
    columns = torch.linspace(-1, 1, pixels.shape[3], device=pixels.device)[None, None, :]
    return (((rows - y).abs() < half) & ((columns - x).abs() < half))[:, None]


def jitter_colours(pixels, augment, draws, count=1):
    """Brightness, saturation, contrast and channel gains as one 3 x 3 matrix and an offset per frame; then erasing.

    Args and returns: (B, 3, H, W) float32 in 0..1; `count` frames may lie one below the other.
    """
    grey = pixels.new_tensor(GREY)
    saturation = 1 + draws() * augment.saturation
    saturation = torch.where(draws(0, 1) < augment.grey, torch.zeros_like(saturation), saturation)
    eye = torch.eye(3, device=pixels.device)
    mix = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * grey  # rows: new channel from old ones
    gains = torch.stack([1 + draws() * augment.channel_gain for _ in range(3)], 1)  # (B, 3)
    gains = gains * (1 + draws() * augment.brightness)[:, None]
    contrast = (1 + draws() * augment.contrast)[:, None, None]
    matrix = gains[:, :, None] * mix
    if augment.hue:
        matrix = matrix @ turned_hues(draws() * augment.hue)
    centre = torch.einsum("bij,bj->bi", matrix, pixels.mean((2, 3)))  # what contrast turns around
    out = (
        torch.einsum("bij,bjhw->bihw", contrast * matrix, pixels) + ((1 - contrast[:, :, 0]) * centre)[:, :, None, None]
    )
    out = out.clamp(0, 1)
    if augment.erase:
        hidden = random_squares(out, augment.erase, draws, count)
        out = torch.where(hidden, out.mean((2, 3)).view(-1, 3, 1, 1), out)
    return out


# ---------------------------------------------------------------------------------------------------------- sounds


def prepare_sounds(sounds, rate, spec, augment=None, draws=None):
    """Log spectrograms of one second each, normalised.

    Args:
        sounds: (B, rate) int16.
        rate: Hz.
        spec: a `Spectrogram` config. augment, draws: as in `prepare_frames`.

    Returns:
        (B, 1, F, T) float32, roughly of mean 0 and deviation 1; F = n_fft / 2 + 1 or mel_bands, T = 1 / hop:
        (B, 1, 257, 200) with the paper's settings.
    """
    waves = sounds.float() / 32768
    if augment is not None:
        waves = waves * (1 + draws() * augment.gain)[:, None]
        if augment.mix:
            level = waves.square().mean(1, keepdim=True).sqrt()
            other = waves * (draws(0, augment.mix)[:, None] / level.clamp(min=1e-4))
            waves = waves + level * other.roll(3, 0)  # not the clip whose frame was blended in
    if spec.equal_loudness:
        waves = waves * (EQUAL_RMS / waves.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4))
    power = power_spectrogram(waves, rate, spec.window, spec.hop, spec.n_fft)  # (B, F, T)
    if augment is not None and augment.pitch:
        power = scale_frequencies(power, (1 + augment.pitch) ** draws())
    if spec.mel_bands:
        power = mel_filterbank(spec.mel_bands, spec.n_fft, rate).to(power) @ power
    if augment is not None and augment.noise:
        power = power + (draws(0, 1) ** 2 * augment.noise)[:, None, None] * power.mean((1, 2), keepdim=True)
    log = torch.log(power + LOG_FLOOR)
    if augment is not None:
        log = colour_spectrum(log, augment, draws)
    log = (log - LOG_MEAN) / LOG_STD
    if augment is not None:
        log = mask_spectrogram(log, augment, draws)
    return log[:, None]


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
    waves = F.pad(waves, (0, max(lacking, 0)), mode="reflect")
    hann = torch.hann_window(size, periodic=True, device=waves.device)
    pieces = waves.unfold(-1, size, step)[:, :columns] * (hann / hann.sum())  # (B, T, size)
    return torch.fft.rfft(pieces, n=n_fft).abs().square().transpose(1, 2)


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


def colour_spectrum(log, augment, draws):
    """Tilt and bend the spectrum as another room and microphone would: (B, F, T) natural log power -> the same."""
    if not augment.tilt:
        return log
    rows = torch.linspace(-1, 1, log.shape[1], device=log.device)[None]  # (1, F)
    curve = draws()[:, None] * rows + draws()[:, None] * (2 * rows**2 - 1) + draws()[:, None] * (4 * rows**3 - 3 * rows)
    return log + (curve * augment.tilt * math.log(10) / 10 / 3)[:, :, None]


def mask_spectrogram(log, augment, draws):
    """Two random bands of rows and two of columns are set to the spectrogram's mean: (B, F, T) -> the same.

    As in SpecAugment (arXiv 1904.08779), without its time warp.
    """
    hidden = torch.zeros_like(log, dtype=torch.bool)
    for largest, axis in ((augment.mask_bands, 1), (augment.mask_times, 2)):
        if not largest:
            continue
        places = torch.linspace(0, 1, log.shape[axis], device=log.device)[None]
        for _ in range(2):
            width = draws(0, largest)[:, None]
            start = draws(0, 1)[:, None] * (1 - width)
            hit = (places >= start) & (places < start + width)  # (B, F) or (B, T)
            hidden |= hit[:, :, None] if axis == 1 else hit[:, None, :]
    return torch.where(hidden, log.mean((1, 2), keepdim=True), log)
