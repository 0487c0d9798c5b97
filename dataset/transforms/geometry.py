"""Crop, flip, rotate, stretch and resize frames, and their optical flow in the same way."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.random_stream import RandomStream
from utils.constants import constant

FLOW_STEP = 20 / 127  # of flow as int8, pixels: at most 20


def random_affine(augment: Any, random: RandomStream) -> Tensor:
    """Draw a random crop, flip, rotation and stretch.

    Args:
        augment: the settings `configs.schema.Augment`.
        random: of the B samples.

    Returns:
        (B, 2, 3) float32, from locations in the result to locations in the frame, both in -1..1.
    """
    side = random.uniform("crop_size", low=augment.crop_min, high=augment.crop_max)
    turn, stretch, x, y, flip = random.uniform("rotation", "stretch", "crop_x", "crop_y", "flip", low=-1).unbind(1)
    one = constant(torch.ones, side.device, 1)
    flip = torch.copysign(one, flip) if augment.flip else one.expand_as(side)
    angle = turn * math.radians(augment.rotation)
    stretch = (1 + augment.stretch) ** (stretch / 2)
    margin = (1 - side).abs()  # how far the center of the crop can move, in half frames
    sizes = [side, side, margin, margin]  # a GPU starts the products all at once
    cos, sin, x, y = torch._foreach_mul([torch.cos(angle), torch.sin(angle), x, y], sizes)
    to_x = [cos * stretch * flip, -sin * stretch, x]
    to_y = [*torch._foreach_div([sin * flip, cos], [stretch, stretch]), y]
    return torch.stack(to_x + to_y, 1).view(-1, 2, 3)


def affine_grid(theta: Tensor, size: int) -> Tensor:
    """Compute the locations in the frame that the pixels of the result show, as `F.affine_grid` does.

    Args:
        theta: (B, 2, 3), from `random_affine`.
        size: height and width of the result, pixels.

    Returns:
        (B, size, size, 2) float32, x and y in -1..1.
    """
    centers = constant(_pixel_centers, theta.device, size)
    # x and y as one complex number: `F.affine_grid` multiplies matrices, which is twenty times slower on a CPU.
    across = torch.view_as_complex(centers[:, None] * theta[:, None, :, 0] + theta[:, None, :, 2])  # (B, size)
    down = torch.view_as_complex(centers[:, None] * theta[:, None, :, 1])
    return torch.view_as_real(down[:, :, None] + across[:, None])


def _pixel_centers(size: int) -> Tensor:
    return (torch.arange(size) * 2 + 1) / size - 1


def resample_image(pixels: Tensor, size: int, theta: Tensor | None = None) -> Tensor:
    """Crop and resize images in one bilinear resampling.

    Args:
        pixels: (B, C, S, S) float32.
        size: height and width of the result, pixels.
        theta: (B, 2, 3), from `random_affine`, or None for the whole image.

    Returns:
        (B, C, size, size) float32; what lies outside the image is its mirror image.
    """
    if theta is not None:
        grid = affine_grid(theta, size)
        return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return pixels


def prepare_flows(flows: Tensor, size: int, theta: Tensor | None = None) -> Tensor:
    """Transform optical flow in the same way as frames that are cropped, flipped, rotated and stretched.

    Erasing and blending change the frame alone.

    Args:
        flows: (B, S, S, 2 * fields) int8, see `dataset.reading.flow`.
        size: height and width of the result, pixels.
        theta: (B, 2, 3), from `random_affine`, or None.

    Returns:
        (B, 2 * fields, size, size) float32, u and v of each field, in pixels of the result.
    """
    scale = size / flows.shape[1] * FLOW_STEP
    vectors = resample_image(flows.permute(0, 3, 1, 2).float(), size, theta) * scale  # (B, 2 * fields, size, size)
    if theta is None:
        return vectors
    vectors = vectors.unflatten(1, (-1, 2))  # (B, fields, 2, size, size)
    # Where the frame is continued by its mirror image, motion is mirrored too.
    mirrored = affine_grid(theta, size).abs().permute(0, 3, 1, 2)[:, None] > 1  # (B, 1, 2, size, size)
    vectors = torch.where(mirrored, -vectors, vectors)
    # theta maps locations in the result to locations in the frame, so its inverse maps motion in the frame back.
    return torch.einsum("bij,bfjhw->bfihw", torch.linalg.inv_ex(theta[:, :, :2])[0], vectors).flatten(1, 2)
