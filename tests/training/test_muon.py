"""Muon equals a slow obvious version."""

import pytest
import torch

from xunlian.training.muon import Muon, orthogonalize, orthogonalize_in_blocks


def slow_newton_schulz(gradient: torch.Tensor) -> torch.Tensor:
    """Keller Jordan's published iteration, for one matrix, in float64."""
    a, b, c = (3.4445, -4.7750, 2.0315)
    x = gradient.double()
    x = x / (x.norm() + 1e-7)
    if gradient.shape[0] > gradient.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5)])
def test_batched_orthogonalization_equals_one_at_a_time_in_float64(shape):
    matrices = torch.randn(3, *shape)
    batched = orthogonalize(matrices)
    for one, result in zip(matrices, batched, strict=True):
        assert torch.allclose(result.double(), slow_newton_schulz(one), atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (8, 8)])
def test_slices_are_orthogonalized_each_by_itself_and_sized_like_the_whole(shape):
    matrices = torch.randn(2, *shape)
    result = orthogonalize_in_blocks(matrices, 4)
    for whole, found in zip(matrices, result, strict=True):
        lying, found = (whole.T, found.T) if shape[1] > shape[0] else (whole, found)
        shrink = (min(shape) / max(shape)) ** 0.5
        for start in range(0, max(shape), 4):
            expected = slow_newton_schulz(lying[start : start + 4]) * shrink
            assert torch.allclose(found[start : start + 4].double(), expected, atol=1e-4)


@pytest.mark.parametrize(("shape", "block"), [((10, 6), 4), ((8, 4), 4), ((4, 8), 8)])
def test_a_matrix_that_cannot_be_cut_is_taken_whole(shape, block):
    matrices = torch.randn(2, *shape)
    assert torch.equal(orthogonalize_in_blocks(matrices, block), orthogonalize(matrices))


def test_orthogonalized_singular_values_are_near_one():
    values = torch.linalg.svdvals(orthogonalize(torch.randn(4, 32, 64)))
    assert values.min() > 0.5 and values.max() < 1.5


def test_muon_step_equals_the_published_rule():
    weight = torch.nn.Parameter(torch.randn(12, 5))
    expected, momentum = weight.detach().clone().double(), torch.zeros(12, 5).double()
    muon = Muon([weight], lr=0.02, momentum=0.9, weight_decay=0.1, dtype=torch.float32)
    for _ in range(3):
        gradient = torch.randn(12, 5)
        weight.grad = gradient.clone()
        muon.step()
        momentum = 0.9 * momentum + 0.1 * gradient.double()
        update = slow_newton_schulz(0.1 * gradient.double() + 0.9 * momentum)
        expected = expected * (1 - 0.02 * 0.1) - 0.02 * (12 / 5) ** 0.5 * update
    assert torch.allclose(weight.double(), expected, atol=1e-4)
