"""Muon: momentum with orthogonalized updates (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Adam scales every weight by itself; Muon gives all directions of a layer's update the same length, so that rare ones are
learned as well as common ones. On a few thousand clips it needs about half of the steps.

torch.optim.Muon takes matrices only, no convolutions, and multiplies in bf16: on CPUs without bf16 instructions it is
several times slower than this one.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.constants import constant

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, chosen by its authors for its slope at 0
STEPS = 5
GRAM_STEP = 32  # rows


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


def orthogonalize_all(matrices: list[Tensor], scales: Sequence[float]) -> list[Tensor]:
    """Do as `orthogonalize` for many matrices, with a tenth of the kernels: products in batches, equal to rounding.

    The polynomials of all Gram matrices of a size are multiplied together, and sums are part of the products.

    Args:
        matrices: (M, N) float32 each, M and N may differ.
        scales: what the result of each is multiplied by.

    Returns:
        as many, (M, N) float32 each.
    """
    order = sorted(range(len(matrices)), key=lambda k: (_gram_side(matrices[k]), tuple(matrices[k].shape)))
    norms = torch.stack(torch._foreach_norm([matrices[k] for k in order])).clamp(min=1e-7)[:, None, None]
    squares = norms.square()
    factors = constant(torch.tensor, norms.device, tuple(scales[k] for k in order))[:, None, None] / norms
    out, done = list(matrices), 0
    for _, side in groupby(order, lambda k: _gram_side(matrices[k])):
        shapes = [list(places) for _, places in groupby(side, lambda k: matrices[k].shape)]
        wide = [_stack_wide([matrices[k] for k in places]) for places in shapes]
        grams = [one @ one.mT for one in wide]
        part = slice(done, done + sum(map(len, shapes)))
        gram = grams[0] if len(grams) == 1 else torch.cat(grams)
        polynomials = _polynomials(gram / squares[part]) * factors[part]
        for places, one, polynomial in zip(shapes, wide, polynomials.split([*map(len, wide)]), strict=True):
            for k, result in zip(places, (polynomial @ one).unbind(), strict=True):
                rows, columns = matrices[k].shape
                out[k] = result[:rows] if rows <= columns else result[:columns].T
        done = part.stop
    return out


def _gram_side(matrix: Tensor) -> int:
    """The size of the Gram matrix of a `matrix`, of its shorter side: a multiple of GRAM_STEP, so that few differ."""
    return -(-min(matrix.shape) // GRAM_STEP) * GRAM_STEP


def _stack_wide(matrices: list[Tensor]) -> Tensor:
    """Stack matrices of one shape, tall ones transposed, with rows of zeros up to the size of their Gram matrix."""
    rows, columns = matrices[0].shape
    stacked = torch.stack([matrix if rows <= columns else matrix.T for matrix in matrices])
    lacking = _gram_side(matrices[0]) - stacked.shape[1]
    return F.pad(stacked, (0, 0, 0, lacking)) if lacking else stacked


def _polynomials(gram: Tensor) -> Tensor:
    """The product of the polynomials of `orthogonalize`, of K Gram matrices: (K, M, M) -> (K, M, M)."""
    a, b, c = COEFFICIENTS
    product = gram
    for step in range(STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # without its part a I
        if step == 0:
            product = factor + constant(_scaled_identity, gram.device, gram.shape[1])
        else:
            product = torch.baddbmm(product, factor, product, beta=a)
        if step < STEPS - 1:
            half = torch.baddbmm(gram, factor, gram, beta=a)
            gram = torch.baddbmm(half, half, factor, beta=a)
    return product


def _scaled_identity(size: int) -> Tensor:
    return COEFFICIENTS[0] * torch.eye(size)


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
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            if any(weight.device.type != "cpu" for weight in weights):
                self.update_together(weights, group["lr"], group["momentum"])
                continue
            for weight in weights:  # a CPU gains nothing from batches
                mean = self.state[weight]["momentum"]
                mean.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(mean, group["momentum"]).flatten(1)  # (O, I * ...)
                weight.add_(orthogonalize(update).view(weight.shape), alpha=-group["lr"] * _shape_scale(update))

    @torch.no_grad()
    def update_together(self, weights: list[Tensor], lr: float, momentum: float) -> None:
        """Update weights that have a gradient and a state, on a GPU, with few kernels.

        Args:
            weights: of this optimizer.
            lr: of their group.
            momentum: of their group.
        """
        means = [self.state[weight]["momentum"] for weight in weights]
        grads = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_lerp_(means, grads, 1 - momentum)
        updates = torch._foreach_lerp(grads, means, momentum)
        # Columns may be in any order: in that of the memory nothing is copied.
        last = [_is_channels_last(update) for update in updates]
        laid_out = [u.movedim(1, -1) if flag else u for u, flag in zip(updates, last, strict=True)]
        matrices = [update.flatten(1) for update in laid_out]
        out = orthogonalize_all(matrices, [_shape_scale(matrix) for matrix in matrices])
        steps = [one.reshape(update.shape) for one, update in zip(out, laid_out, strict=True)]
        steps = [one.movedim(-1, 1) if flag else one for one, flag in zip(steps, last, strict=True)]
        torch._foreach_add_(weights, steps, alpha=-lr)


def _is_channels_last(weight: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return weight.ndim in formats and weight.is_contiguous(memory_format=formats[weight.ndim])


def _shape_scale(matrix: Tensor) -> float:
    """The scale of the gradient is gone; the shape's makes steps of all layers comparable."""
    return float(max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5)
