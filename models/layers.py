"""Functions that the nets share: pooling, precision, distances, data-dependent initialization."""

import torch
from torch import Tensor, nn


def global_max_pool(features: Tensor) -> Tensor:
    """Max-pool `features` over all locations, in float32: (B, C, h, w), or (B, C, t, h, w) of frames -> (B, C)."""
    return to_float32(features.amax(dim=tuple(range(2, features.ndim))))


def max_and_salient_mean(hidden: Tensor, features: Tensor) -> Tensor:
    """Pool a map over all locations: its maximum, and a mean in which locations of strong features weigh more.

    Args:
        hidden: (B, D, h, w) float32, of each location.
        features: (B, C, h, w), the encoder's. A location weighs by the cube of the L2 norm of its features, so that
            objects weigh more than background.

    Returns:
        (B, 2 D).
    """
    weights = to_float32(features).norm(dim=1, keepdim=True) ** 3  # (B, 1, h, w)
    weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-12)
    return torch.cat([hidden.amax((2, 3)), (hidden * weights).sum((2, 3))], 1)


def to_float32(x: Tensor) -> Tensor:
    """Convert `x`, (...) float, to float32, unless it is float64: nets work in either (`net.double()`)."""
    return x if x.dtype == torch.float64 else x.float()


def pairwise_distances(v: Tensor, a: Tensor) -> Tensor:
    """Compute Euclidean distances between unit vectors, in float32.

    Args:
        v: (N, dim).
        a: (M, dim).

    Returns:
        (N, M), in 0..2.
    """
    with torch.autocast(v.device.type, enabled=False):
        # The floor keeps the gradient of the square root finite where two vectors are equal.
        return (2 - 2 * v @ a.T).clamp(min=1e-8).sqrt()


def standardize_outputs(layer: nn.Linear | nn.Conv2d, outputs: Tensor, std: float = 1.0) -> None:
    """Scale and shift a layer in place so that each of its outputs has mean 0 and standard deviation `std`.

    Data-dependent initialization: docs/starting_well.md.

    Args:
        layer: linear or convolutional, with a bias.
        outputs: (N, D), the layer's outputs for N inputs.
        std: standard deviation after scaling.
    """
    assert layer.bias is not None
    mean, scale = outputs.mean(0), outputs.std(0).clamp(min=1e-6) / std
    layer.weight.div_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
    layer.bias.sub_(mean).div_(scale)
