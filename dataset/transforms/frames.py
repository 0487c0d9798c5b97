"""Batched, on the device: normalisation and augmentation of frames; of sounds in `spectrograms.py`.

Random numbers are drawn from each sample's seed by name (`RandomStream`), never from a global generator: a batch looks
the same wherever and whenever it is made. Only `blend` and `mix` look at other samples of it.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

from dataset.pairs import RandomStream
from dataset.transforms.sounds import apply_in_chunks, fill_masked, prepare_sounds

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601
# The usual constants of ImageNet, so that pretrained nets see what they know.
FRAME_MEAN, FRAME_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOW_STEP = 20 / 127  # of flow kept as int8, pixels: at most 20


class PairTransform:
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
        augment = self.augment and scale_strength(self.augment, batch.get("progress", 1.0))
        random = RandomStream(batch["seeds"]) if augment else None
        # Half precision would round colours visibly and be off by more than a unit of log power.
        with torch.autocast(batch["sounds"].device.type, enabled=False):
            frames = prepare_frames(batch["frames"], self.data.frame_size, augment, random, batch.get("flows"))
            if augment and len(batch["sounds"]) > len(
                frames
            ):  # each clip's other second of sound gets the same changes
                random = RandomStream(batch["seeds"].repeat(2))
            return frames, prepare_sounds(batch["sounds"], self.data.sample_rate, self.spec, augment, random)


def scale_strength(augment, progress):
    """The augmentation at a share `progress` (0..1) of the run: it grows from nothing until `augment.ramp`.

    Nets that see clean clips first find what belongs together several times sooner; the changes are needed later,
    against learning the clips by heart (docs/starting_well.md).
    """
    strength = min(progress / augment.ramp, 1.0) if augment.ramp else 1.0
    fixed = {"flip", "ramp", "crop_min", "crop_max"}
    scaled = {f.name: getattr(augment, f.name) * strength for f in dataclasses.fields(augment) if f.name not in fixed}
    crops = {name: 1 - (1 - getattr(augment, name)) * strength for name in ("crop_min", "crop_max")}
    return dataclasses.replace(augment, **scaled, **crops)


# ---------------------------------------------------------------------------------------------------------- frames


def prepare_frames(frames, size, augment=None, random=None, flows=None):
    """Crop, jitter and normalise. All frames and the flow of a sample are changed alike.

    Args:
        frames: (B, S, S, 3) uint8 RGB, or (B, T, S, S, 3).
        size: side of the result, pixels.
        augment: an `Augment`, or None for the whole frame as it is.
        random: a `RandomStream` of the samples; only with `augment`.
        flows: (B, S, S, 2 * fields) int8 beside one frame, see `dataset.reading.flow`, or None.

    Returns:
        (B, 3, size, size) float32, normalised by FRAME_MEAN and FRAME_STD; of several frames (B, 3, T, size, size).
        With flows (B, 3 + 2 * fields, size, size): their vectors are in pixels of the result.
    """
    changes = [None] * 4
    if augment is not None:
        changes = random_affine(augment, random), *random_color_matrix(augment, random), random_erasing(augment, random)
    pixels = apply_in_chunks(lambda *few: _transform_frames(*few, size), frames, flows, *changes)
    if augment and augment.blend:
        own = pixels[:, :3]  # without flow
        own.lerp_(own.roll(1, 0), random.uniform("blend", 0, augment.blend).view(-1, *[1] * (own.ndim - 1)))
    return pixels


def _transform_frames(frames, flows, theta, matrix, contrast, square, size):
    """What `prepare_frames` does with the numbers that it has drawn."""
    count = 1 if frames.ndim == 4 else frames.shape[1]
    pixels = frames.permute(0, 3, 1, 2) if frames.ndim == 4 else frames.permute(0, 1, 4, 2, 3).flatten(1, 2)
    pixels = pixels.float().div_(255)  # (B, 3, S, S), channels last in memory; or (B, T * 3, S, S)
    pixels = resample_image(pixels, size, theta)
    if count > 1:  # one below the other: what follows sees one tall picture, so that all get the same change
        pixels = pixels.unflatten(1, (count, 3)).transpose(1, 2).flatten(2, 3)  # (B, 3, T * size, size)
    if matrix is not None:
        pixels = color_jitter(pixels, matrix, contrast)
    if square is not None:
        fill_masked(pixels, erased_pixels(square, size, count), pixels.mean((2, 3), keepdim=True))
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (FRAME_MEAN, FRAME_STD))
    pixels = pixels.sub_(mean).div_(std)
    if flows is not None:
        return torch.cat([pixels, prepare_flows(flows, size, theta)], 1)
    return pixels if frames.ndim == 4 else pixels.unflatten(2, (count, size))


def prepare_flows(flows, size, theta=None):
    """Flow as it is between frames that `theta` crops, flips, turns and stretches.

    Neither erasing nor blending reaches it: both are changes of the frame alone.

    Args:
        flows: (B, S, S, 2 * fields) int8, see `dataset.reading.flow`.
        size: side of the result, pixels. theta: of `crop`, or None.

    Returns:
        (B, 2 * fields, size, size) float32, u and v of each field in turn, in pixels of the result.
    """
    scale = size / flows.shape[1] * FLOW_STEP
    vectors = resample_image(flows.permute(0, 3, 1, 2).float(), size, theta) * scale  # (B, 2 * fields, size, size)
    if theta is None:
        return vectors
    vectors = vectors.unflatten(1, (-1, 2))  # (B, fields, 2, size, size)
    # Where the frame is continued by its mirror image, motion is mirrored too.
    mirrored = affine_grid(theta, size).abs().permute(0, 3, 1, 2)[:, None] > 1  # (B, 1, 2, size, size)
    vectors = torch.where(mirrored, -vectors, vectors)
    # theta leads from places of the result to places of the frame, so its inverse leads their differences back.
    return torch.einsum("bij,bfjhw->bfihw", torch.linalg.inv_ex(theta[:, :, :2])[0], vectors).flatten(1, 2)


def random_affine(augment, random):
    """Random crop, flip, rotation and stretch: (B, 2, 3), from places of the result to places of the frame, -1..1."""
    side = random.uniform("crop_size", augment.crop_min, augment.crop_max)
    flip = torch.where(random.uniform("flip") < 0.5, -1.0, 1.0) if augment.flip else torch.ones_like(side)
    angle = math.radians(augment.rotation) * random.uniform("rotation", -1, 1)
    stretch = (1 + augment.stretch) ** random.uniform("stretch", -0.5, 0.5)
    room = (1 - side).abs()  # how far the crop's centre can move, in half frames
    x, y = room * random.uniform("crop_x", -1, 1), room * random.uniform("crop_y", -1, 1)
    cos, sin = torch.cos(angle) * side, torch.sin(angle) * side
    across = torch.stack([cos * stretch * flip, -sin * stretch, x], 1)
    down = torch.stack([sin * flip / stretch, cos / stretch, y], 1)
    return torch.stack([across, down], 1)


def affine_grid(theta, size):
    """The places of the frame that the pixels of the result show: (B, 2, 3) -> (B, size, size, 2), x and y."""
    places = (torch.arange(size, device=theta.device) * 2 + 1) / size - 1  # of the pixels' centres
    # As one complex number a place: `F.affine_grid` multiplies matrices for each, and is twenty times slower on a CPU.
    across = torch.view_as_complex(places[:, None] * theta[:, None, :, 0] + theta[:, None, :, 2])  # (B, size)
    down = torch.view_as_complex(places[:, None] * theta[:, None, :, 1])
    return torch.view_as_real(down[:, :, None] + across[:, None])


def resample_image(pixels, size, theta=None):
    """The picture that `theta` shows in one bilinear resampling, or the whole: (B, C, S, S) -> (B, C, size, size)."""
    if theta is not None:
        grid = affine_grid(theta, size)
        return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return pixels


def hue_rotation(share):
    """Turn the colour circle by a share of half of it, around grey: (B,) in -1..1 -> (B, 3, 3), RGB to RGB."""
    to_yiq = torch.tensor([LUMA_WEIGHTS, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], device=share.device)
    cos, sin = torch.cos(math.pi * share), torch.sin(math.pi * share)
    turn = torch.zeros(len(share), 3, 3, device=share.device)
    turn[:, 0, 0], turn[:, 1, 1], turn[:, 2, 2], turn[:, 1, 2], turn[:, 2, 1] = 1, cos, cos, -sin, sin
    return torch.linalg.inv(to_yiq) @ turn @ to_yiq


def random_color_matrix(augment, random):
    """Random brightness, saturation, channel gains and hue as one matrix, (B, 3, 3), RGB to RGB; and contrast, (B,)."""
    saturation = 1 + augment.saturation * random.uniform("saturation", -1, 1)
    saturation = torch.where(random.uniform("grey") < augment.grey, torch.zeros_like(saturation), saturation)
    grey = saturation.new_tensor(LUMA_WEIGHTS)
    eye = torch.eye(3, device=grey.device)
    mix = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * grey  # rows: new channel from old ones
    gains = 1 + augment.channel_gain * random.uniform("channel_gain", -1, 1, count=3)  # (B, 3)
    gains = gains * (1 + augment.brightness * random.uniform("brightness", -1, 1, count=1))
    contrast = 1 + augment.contrast * random.uniform("contrast", -1, 1)
    matrix = gains[:, :, None] * mix
    if augment.hue:
        matrix = matrix @ hue_rotation(augment.hue * random.uniform("hue", -1, 1))
    return matrix, contrast


def color_jitter(pixels, matrix, contrast):
    """Change the colours, then the contrast around each channel's mean: (B, 3, H, W) float32 in 0..1 -> the same."""
    contrast = contrast[:, None, None]
    centre = matrix @ pixels.mean((2, 3))[:, :, None]  # (B, 3, 1)
    out = torch.baddbmm((1 - contrast) * centre, contrast * matrix, pixels.flatten(2))
    return out.clamp_(0, 1).view_as(pixels)


def random_erasing(augment, random):
    """A random square: (B, 3), half of its side, x and y, as shares of half a frame; None if there is none."""
    if not augment.erase:
        return None
    half = random.uniform("erase_size", 0, augment.erase)
    return torch.stack([half, random.uniform("erase_x", -1, 1), random.uniform("erase_y", -1, 1)], 1)


def erased_pixels(square, size, count=1):
    """Where the squares are: (B, 3) -> (B, 1, count * size, size) bool, of `count` frames one below the other."""
    half, x, y = square[:, :, None, None].unbind(1)
    places = torch.linspace(-1, 1, size, device=square.device)
    rows, columns = places.repeat(count)[:, None], places
    return (((rows - y).abs() < half) & ((columns - x).abs() < half))[:, None]
