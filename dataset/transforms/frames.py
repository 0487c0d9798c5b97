"""Frames to the input of the nets, batched on the device: crop, normalization and augmentation.

Random numbers are drawn from each sample's seed by name (`RandomStream`), never from a global generator, so that a
sample is the same wherever and whenever it is made. Only `blend` and `mix` bring in other samples of the batch.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.loading.loader import Batch
from dataset.random_stream import RandomStream
from dataset.transforms.geometry import prepare_flows, random_affine, resample_image
from dataset.transforms.sounds import apply_in_chunks, fill_masked, prepare_sounds, silence_and_noise
from utils.constants import constant

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
RGB_TO_YIQ = (LUMA_WEIGHTS, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
# The usual constants of ImageNet, so that pretrained nets get what they were trained on.
FRAME_MEAN, FRAME_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEED_STEP = 0x632BE59BD9B4E019  # from a clip's seed to that of its next moment: any large odd number


class PairTransform:
    """Turn a batch of pairs into the inputs of the nets.

    Args:
        config: a `configs.schema.Config`, of which the sections data, spectrogram and augment are used, and where a
            training's frames are smaller at first, train.low_res_until and low_res_size.
        train: with augmentation.
    """

    def __init__(self, config: Any, train: bool) -> None:
        self.data, self.spec = config.data, config.spectrogram
        self.low_res_until = config.train.low_res_until if train else 0.0
        self.low_res_size = config.train.low_res_size
        self.augment = config.augment if train else None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Transform a collated batch on any device.

        Returns:
            frames (B, 3, S, S) float32, S data.frame_size, or train.low_res_size early in a run; (B, 3, T, S, S) for
            several frames; (B, 3 + 2 * fields, S, S) with flow; of a batch with "features" in place of frames those,
            (B, C, h, w).
            spectrograms (B, 1, F, T) float32; (2 * B, 1, F, T) if samples have another sound.
            Of samples with M moments both have M * B rows: the first moments of all clips, then the second ones, ...
            Each moment has its own augmentation.
        """
        augment, random, sounds_random = None, None, None
        if batch["sounds"].ndim == 3:
            batch = _split_moments(batch)
        if self.augment is not None:
            augment, seeds = scale_strength(self.augment, batch.get("progress", 1.0)), batch["seeds"]
            random = sounds_random = RandomStream(seeds)
            if len(batch["sounds"]) > len(seeds):  # a clip's other sound gets the same augmentation
                sounds_random = RandomStream(seeds.repeat(2))
        # In half precision colors would be rounded visibly, and log power would be wrong by more than 1.
        with torch.autocast(batch["sounds"].device.type, enabled=False):
            if "features" in batch:
                frames = prepare_features(batch["features"], augment, random)
            else:
                frames = prepare_frames(batch["frames"], self.data.frame_size, augment, random, batch.get("flows"))
                if batch.get("progress", 1.0) < self.low_res_until:
                    frames = shrink_frames(frames, self.low_res_size)
            return frames, prepare_sounds(batch["sounds"], self.data.sample_rate, self.spec, augment, sounds_random)

    def silence_and_noise(self, batch: Batch, count: int) -> Tensor:
        """Make spectrograms of silence and noise, without augmentation.

        Args:
            batch: whose sounds have the same length and device.
            count: number of spectrograms.

        Returns:
            (count, 1, F, T) float32.
        """
        sounds = batch["sounds"]
        with torch.autocast(sounds.device.type, enabled=False):
            made = silence_and_noise(count, sounds.shape[-1], sounds.device)
            return prepare_sounds(made, self.data.sample_rate, self.spec)


def _split_moments(batch: Batch) -> Batch:
    """Make each moment of B clips a row of its own: (B, M, ...) -> (M * B, ...), with seeds of their own."""
    rows = {name: batch[name].transpose(0, 1) for name in ("frames", "features", "sounds") if name in batch}
    moments = constant(torch.arange, batch["sounds"].device, len(rows["sounds"]))[:, None]
    seeds = (batch["seeds"] + moments * SEED_STEP).flatten()  # int64 wraps around
    return batch | {name: values.flatten(0, 1) for name, values in rows.items()} | {"seeds": seeds}


def scale_strength(augment: Any, progress: float) -> Any:
    """Scale the augmentation to a point of the run: it grows linearly from nothing to its full strength.

    A net that starts on clean clips learns correspondence several times sooner; augmentation is needed later, against
    overfitting (docs/starting_well.md).

    Args:
        augment: the settings `configs.schema.Augment`; full strength is reached at the fraction augment.ramp.
        progress: fraction of the run that is done.

    Returns:
        an `Augment`.
    """
    strength = min(progress / augment.ramp, 1.0) if augment.ramp else 1.0
    fixed = {"flip", "ramp", "crop_min", "crop_max"}
    scaled = {f.name: getattr(augment, f.name) * strength for f in dataclasses.fields(augment) if f.name not in fixed}
    crops = {name: 1 - (1 - getattr(augment, name)) * strength for name in ("crop_min", "crop_max")}
    return dataclasses.replace(augment, **scaled, **crops)


def prepare_frames(
    frames: Tensor,
    size: int,
    augment: Any = None,
    random: RandomStream | None = None,
    flows: Tensor | None = None,
) -> Tensor:
    """Crop, augment and normalize frames, all frames and the flow of a sample in the same way.

    Args:
        frames: (B, S, S, 3) uint8 RGB, or (B, T, S, S, 3).
        size: height and width of the result, pixels.
        augment: the settings `configs.schema.Augment`, or None for the whole frame without augmentation.
        random: of the samples; needed with `augment`.
        flows: (B, S, S, 2 * fields) int8, optical flow of one frame (`dataset.reading.flow`), or None.

    Returns:
        (B, 3, size, size) float32, normalized by FRAME_MEAN and FRAME_STD; (B, 3, T, size, size) for several frames;
        (B, 3 + 2 * fields, size, size) with flows, whose vectors are in pixels of the result.
    """
    theta = colors = contrast = square = blend = None
    if augment is not None:
        assert random is not None, "augmentation needs random numbers"
        theta, (colors, contrast) = random_affine(augment, random), random_color_matrix(augment, random)
        square = random_erasing(augment, random) if augment.erase else None
        blend = random.uniform("blend", high=augment.blend) if augment.blend else None
    pixels = apply_in_chunks(partial(_transform_frames, size=size), frames, flows, theta, colors, contrast, square)
    if blend is not None:
        _blend(pixels[:, :3], blend)  # without flow
    return pixels


def shrink_frames(frames: Tensor, size: int) -> Tensor:
    """Resize the input of a net, with a low-pass filter.

    Args:
        frames: (B, C, S, S) or (B, 3, T, S, S) float32; channels after the third are optical flow.
        size: height and width of the result, pixels.

    Returns:
        (B, C, size, size) or (B, 3, T, size, size); flow is in pixels of the result.
    """
    small = F.interpolate(frames.flatten(1, -3), size=(size, size), mode="bilinear", antialias=True)
    if frames.ndim == 4 and frames.shape[1] > 3:
        small[:, 3:] *= size / frames.shape[-1]
    return small.unflatten(1, frames.shape[1:-2])


def prepare_features(features: Tensor, augment: Any = None, random: RandomStream | None = None) -> Tensor:
    """Prepare feature maps of frames whose other augmentation is done (`dataset.frozen_features`).

    Args:
        features: (B, C, h, w) float16.
        augment: the settings `configs.schema.Augment`, of which blend is used; None for no augmentation.
        random: of the samples; needed with `augment`.

    Returns:
        (B, C, h, w) float32.
    """
    features = features.float()
    if augment is not None and augment.blend:
        assert random is not None, "augmentation needs random numbers"
        _blend(features, random.uniform("blend", high=augment.blend))
    return features


def _blend(values: Tensor, weights: Tensor) -> None:
    """Blend each sample's `values`, (B, ...), in place with another one's, by `weights` (B,)."""
    values.lerp_(values.roll(1, 0), weights.view(-1, *[1] * (values.ndim - 1)))


def _transform_frames(
    frames: Tensor,
    flows: Tensor | None,
    theta: Tensor | None,
    colors: Tensor | None,
    contrast: Tensor | None,
    square: Tensor | None,
    *,
    size: int,
) -> Tensor:
    """Transform frames with the augmentation that `prepare_frames` has drawn."""
    count = 1 if frames.ndim == 4 else frames.shape[1]
    pixels = frames.permute(0, 3, 1, 2) if frames.ndim == 4 else frames.permute(0, 1, 4, 2, 3).flatten(1, 2)
    pixels = pixels.float().div_(255)  # (B, 3, S, S), channels last in memory; or (B, T * 3, S, S)
    pixels = resample_image(pixels, size, theta)
    if count > 1:  # stacked vertically to one tall image, so that all frames get the same changes
        pixels = pixels.unflatten(1, (count, 3)).transpose(1, 2).flatten(2, 3)  # (B, 3, T * size, size)
    if colors is not None and contrast is not None:
        pixels = color_jitter(pixels, colors, contrast)
    if square is not None:
        fill_masked(pixels, erased_pixels(square, size, count), pixels.mean((2, 3), keepdim=True))
    mean, std = (constant(torch.tensor, pixels.device, values)[:, None, None] for values in (FRAME_MEAN, FRAME_STD))
    pixels = pixels.sub_(mean).div_(std)
    if flows is not None:
        return torch.cat([pixels, prepare_flows(flows, size, theta)], 1)
    return pixels if frames.ndim == 4 else pixels.unflatten(2, (count, size))


# ------------------------------------------------------------------------------------------------------------ colors


def random_color_matrix(augment: Any, random: RandomStream) -> tuple[Tensor, Tensor]:
    """Draw random brightness, saturation, channel gains, hue and contrast.

    Args:
        augment: the settings `configs.schema.Augment`.
        random: of the B samples.

    Returns:
        colors (B, 3, 3) float32, from RGB to RGB; contrast (B,) float32.
    """
    saturation, brightness, contrast, hue = random.uniform(
        "saturation", "brightness", "contrast", "hue", low=-1
    ).unbind(1)
    gains = random.uniform("red_gain", "green_gain", "blue_gain", low=-1)  # (B, 3)
    strengths = [augment.saturation, augment.brightness, augment.contrast, augment.channel_gain]
    changes = torch._foreach_mul([saturation, brightness, contrast, gains], strengths)  # a GPU starts all at once
    saturation, brightness, contrast, gains = torch._foreach_add(changes, 1)
    saturation = saturation.masked_fill(random.uniform("grey") < augment.grey, 0.0)
    grey = constant(torch.tensor, saturation.device, LUMA_WEIGHTS)
    eye = constant(torch.eye, saturation.device, 3)
    mix = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * grey  # rows: new channel from old ones
    colors = (gains * brightness[:, None])[:, :, None] * mix
    if augment.hue:
        colors = colors @ hue_rotation(hue * augment.hue)
    return colors, contrast


def hue_rotation(turn: Tensor) -> Tensor:
    """Rotate the color wheel around grey.

    Args:
        turn: (B,) in -1..1, half turns.

    Returns:
        (B, 3, 3) float32, from RGB to RGB.
    """
    cos, sin = torch.cos(math.pi * turn), torch.sin(math.pi * turn)
    zero, one = (constant(make, turn.device, 1).expand_as(turn) for make in (torch.zeros, torch.ones))
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)  # of I and Q
    return constant(_yiq_to_rgb, turn.device) @ rotation @ constant(torch.tensor, turn.device, RGB_TO_YIQ)


def _yiq_to_rgb() -> Tensor:
    return torch.linalg.inv(torch.tensor(RGB_TO_YIQ))


def color_jitter(pixels: Tensor, colors: Tensor, contrast: Tensor) -> Tensor:
    """Change colors, then the contrast around each channel's mean.

    Args:
        pixels: (B, 3, H, W) float32 in 0..1.
        colors: (B, 3, 3), from RGB to RGB.
        contrast: (B,).

    Returns:
        (B, 3, H, W) float32, clipped to 0..1.
    """
    contrast = contrast[:, None, None]
    center = colors @ pixels.mean((2, 3))[:, :, None]  # (B, 3, 1)
    out = torch.baddbmm((1 - contrast) * center, contrast * colors, pixels.flatten(2))
    return out.clamp_(0, 1).view_as(pixels)


# ----------------------------------------------------------------------------------------------------------- erasing


def random_erasing(augment: Any, random: RandomStream) -> Tensor:
    """Draw a random square to erase (random erasing, arXiv 1708.04896).

    Args:
        augment: the settings `configs.schema.Augment`.
        random: of the B samples.

    Returns:
        (B, 3) float32: half of its side, and x and y of its center in -1..1, all in half frames.
    """
    half = random.uniform("erase_size", high=augment.erase)
    return torch.cat([half[:, None], random.uniform("erase_x", "erase_y", low=-1)], 1)


def erased_pixels(square: Tensor, size: int, count: int = 1) -> Tensor:
    """Mark the pixels within squares.

    Args:
        square: (B, 3), from `random_erasing`.
        size: height and width of a frame, pixels.
        count: frames, stacked vertically.

    Returns:
        (B, 1, count * size, size) bool.
    """
    half, x, y = square[:, :, None, None].unbind(1)
    positions = constant(torch.linspace, square.device, -1, 1, size)
    rows, columns = (positions if count == 1 else positions.repeat(count))[:, None], positions
    return (((rows - y).abs() < half) & ((columns - x).abs() < half))[:, None]
