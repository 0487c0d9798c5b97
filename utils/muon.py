"""Muon: momentum with orthogonalized updates (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Adam scales every weight by itself; Muon gives all directions of a layer's update the same length, so that rare ones are
learned as well as common ones. On a few thousand clips it needs about half of the steps.

torch.optim.Muon takes matrices only, no convolutions, and multiplies in bf16: on CPUs without bf16 instructions it is
several times slower than this one.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, chosen by its authors for its slope at 0
STEPS = 5


def orthogonalize(matrix: Tensor) -> Tensor:
    """Move all singular values of a matrix close to 1 (0.7 to 1.2), keeping its singular vectors.

    The Newton-Schulz iteration X <- a X + b (X X') X + c (X X')^2 X, five times, starting from X / |X|. Every step is a
    polynomial of the Gram matrix S = X X' applied to X, so the polynomials alone are multiplied, on the short side, and
    X only twice: for a convolution of 192 x 1728 a fifth of the multiplications.

    Args:
        matrix: (M, N) float32.

    Returns:
        (M, N) float32.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    gram = wide @ wide.T
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = eye
    for step in range(STEPS):
        factor = a * eye + b * gram + c * gram @ gram
        product = factor @ product  # all of these are polynomials of one matrix: they commute
        if step < STEPS - 1:
            gram = factor @ gram @ factor
    out = product @ wide
    return out if matrix.shape[0] <= matrix.shape[1] else out.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized: W <- W - lr sqrt(max(1, M / N)) orthogonalize(momentum).

    Args:
        params: weights of two dimensions or more, or groups of them; a convolution (O, I, ...) counts as (O, I * ...).
        lr: how far a step moves a weight matrix, in spectral norm.
        momentum: decay of the running mean of the gradient.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 0.02, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
                mean = self.state[weight]["momentum"]
                mean.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(mean, group["momentum"]).flatten(1)  # (O, I * ...)
                # The scale of the gradient is gone; the shape's makes steps of all layers comparable.
                scale = max(1, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(orthogonalize(update).view(weight.shape), alpha=-group["lr"] * scale)
