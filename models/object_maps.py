"""Object maps: what an encoder finds striking in a frame by itself, mixed into the map for a sound (EZ-VSL's OGL).

EZ-VSL (arXiv 2203.09324, sec. 3.4) takes the features of a separate ImageNet net, and their L1 norm. Here the frame
encoder's own features do, so that a frame is encoded once.
"""

import torch
from torch import Tensor

from models.interfaces import LocalizingNet, device_of
from models.layers import to_float32


def object_maps(features: Tensor) -> Tensor:
    """Measure how striking each location is to the encoder: the L2 norm of its feature vector.

    Args:
        features: (B, C, h, w), of the encoder of the frames.

    Returns:
        (B, h, w) float32, at least 0.
    """
    return to_float32(features).norm(p=2, dim=1)  # the only place that chooses the norm


def scale_maps(maps: Tensor) -> Tensor:
    """Scale each of `maps`, (N, h, w), to 0..1: its least value becomes 0, its largest 1; a constant map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


def mix_maps(logits: Tensor, objects: Tensor, weight: float) -> Tensor:
    """Mix maps for sounds with object maps, each scaled to 0..1 by itself.

    Args:
        logits: (N, h, w), the maps for the sounds.
        objects: (N, h, w), of `object_maps`.
        weight: of the object maps, 0..1.

    Returns:
        (N, h, w) in 0..1.
    """
    return (1 - weight) * scale_maps(logits) + weight * scale_maps(objects)


@torch.no_grad()
def location_maps(
    net: LocalizingNet, v: Tensor, a: Tensor, objects: Tensor | None = None, weight: float = 0.0
) -> Tensor:
    """Compute the map of each frame with its own sound.

    Args:
        net: a net with maps.
        v: (N, D, h, w) embedded frames.
        a: (N, D) embedded sounds.
        objects: (N, h, w) object maps of the frames, or None.
        weight: eval.object_weight, 0..1.

    Returns:
        (N, h, w) float32 on the CPU: logits; with `objects` and a `weight` above 0 mixed maps, in 0..1.
    """
    device = device_of(net)
    logits = net.location_logits(v.to(device, non_blocking=True), a.to(device, non_blocking=True)).cpu()
    return logits if objects is None or not weight else mix_maps(logits, objects.cpu(), weight)
