"""Muon against torch's own on matrices, against a singular value decomposition, and on a problem Adam finds hard."""

import copy

import pytest
import torch

from utils.muon import COEFFICIENTS, STEPS, Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (24, 24), (1, 9), (24, 9)])
def test_singular_values_go_through_the_polynomial_and_vectors_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    values = s / s.norm()
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalize(matrix.float()), (u * values @ vt).float(), atol=2e-4, rtol=0)


def test_all_directions_end_about_equally_long():
    torch.manual_seed(1)
    matrix = torch.randn(32, 200) * torch.logspace(0, -2, 32)[:, None]  # some directions a hundred times weaker
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.min() > 0.6 and values.max() < 1.3
    assert orthogonalize(torch.zeros(3, 5)).abs().max() == 0


def test_a_step_is_that_of_torchs_muon_on_a_matrix():
    """Torch's works in bfloat16: equal to its rounding."""
    torch.manual_seed(2)
    start, gradients = torch.randn(16, 48), torch.randn(4, 16, 48)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = Muon([ours], lr=0.1, momentum=0.9), torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0)
    for gradient in gradients:
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).detach()
    assert (ours - theirs).norm() / moved.norm() < 0.03


def test_a_convolution_counts_as_a_matrix_of_its_outputs_whatever_its_memory_layout():
    torch.manual_seed(3)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    flat, plain, last = (
        torch.nn.Parameter(start.flatten(1).clone()), torch.nn.Parameter(start.clone()),
        torch.nn.Parameter(start.to(memory_format=torch.channels_last)),
    )  # fmt: skip
    for weight in (flat, plain, last):
        weight.grad = gradient.flatten(1) if weight is flat else gradient.to(memory_format=torch.channels_last)
        Muon([weight], lr=0.1).step()
    torch.testing.assert_close(plain.flatten(1), flat)
    torch.testing.assert_close(last, plain)


def test_its_state_survives_saving():
    torch.manual_seed(4)
    weights, gradients = torch.randn(5, 7), torch.randn(6, 5, 7)
    whole = torch.nn.Parameter(weights.clone())
    optimizer = Muon([whole], lr=0.1)
    for k, gradient in enumerate(gradients):
        if k == 3:
            parted = torch.nn.Parameter(whole.detach().clone())
            resumed = Muon([parted], lr=0.1)
            resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        whole.grad = gradient
        optimizer.step()
        if k >= 3:
            parted.grad = gradient
            resumed.step()
    assert torch.equal(whole, parted)


def test_together_as_on_a_gpu_the_steps_are_those_of_one_by_one():
    """Wide, square and tall ones, of which some have the same Gram matrix, in both layouts of memory."""
    torch.manual_seed(5)
    shapes = [(8, 4, 3, 3)] * 3 + [(8, 1, 3, 3), (40, 4, 3, 3), (40, 40), (64, 8, 1, 1), (6, 4, 2, 3, 3), (33, 5, 3, 3)]
    start = [torch.randn(shape) / shape[0] for shape in shapes]
    alone, together = ([torch.nn.Parameter(one.clone()) for one in start] for _ in range(2))
    for weight in together[1:]:
        if weight.ndim > 2:
            last = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
            weight.data = weight.data.to(memory_format=last)
    one_by_one, at_once = Muon(alone), Muon(together)
    for weight in together:
        at_once.state[weight]["momentum"] = torch.zeros_like(weight)
    for _ in range(3):
        for one, other in zip(alone, together, strict=True):
            one.grad = torch.randn(one.shape) * 1e-4
            other.grad = torch.empty_like(other).copy_(one.grad)
        one_by_one.step()
        at_once.update_together(together, 0.02, 0.95)
    for one, other in zip(alone, together, strict=True):
        # A random square matrix has singular values near 0, which rounding moves far; convolutions have none.
        tolerance = 1e-5 if one.shape == (40, 40) else 1e-6
        assert (one - other).abs().max() < tolerance * one.abs().max(), one.shape
        assert torch.equal(one_by_one.state[one]["momentum"], at_once.state[other]["momentum"])


def test_together_no_gradient_moves_nothing():
    weight = torch.nn.Parameter(torch.randn(3, 5))
    optimizer = Muon([weight])
    before, weight.grad = weight.detach().clone(), torch.zeros(3, 5)
    optimizer.state[weight]["momentum"] = torch.zeros(3, 5)
    optimizer.update_together([weight], 0.02, 0.95)
    assert torch.equal(weight, before)
