"""Pictures that move by whole pixels, for the tests of optical flow."""

import numpy as np
import torch

SIZE = 64


def texture(size=(SIZE, SIZE), seed=0, margin=0):
    """A smooth random picture, bigger by `margin` on each side: (H, W) uint8."""
    rough = torch.rand(1, 1, 14, 14, generator=torch.Generator().manual_seed(seed)) * 200 + 20
    height, width = size[1] + 2 * margin, size[0] + 2 * margin
    smooth = torch.nn.functional.interpolate(rough, size=(height, width), mode="bicubic")
    return smooth[0, 0].clamp(0, 255).round().byte().numpy()


def moved(dx, dy, size=(SIZE, SIZE), margin=24, seed=0):
    """The texture moved by (dx, dy) whole pixels, to the right and down."""
    whole = texture(size, seed, margin)
    return np.ascontiguousarray(whole[margin - dy : margin - dy + size[1], margin - dx : margin - dx + size[0]])


def coloured(grey):
    """(H, W) -> (H, W, 3)."""
    return np.repeat(grey[..., None], 3, 2)
