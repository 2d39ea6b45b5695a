"""The loss in chunks against PyTorch's own cross-entropy over whole logits."""

import math

import pytest
import torch
from torch.nn import functional as F

from xunlian.models.losses import (
    IGNORED,
    chunk_gradients,
    chunk_positions,
    cross_entropy,
    gpu_chunk_logits,
)

WIDTH = 8


def some_batch(positions, vocab, ignored=0.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(positions)
    hidden_ND = torch.randn(positions, WIDTH, generator=generator).to(dtype)
    weight_VD = torch.randn(vocab, WIDTH, generator=generator)
    targets_N = torch.randint(vocab, (positions,), generator=generator)
    targets_N[torch.rand(positions, generator=generator) < ignored] = IGNORED
    return hidden_ND, weight_VD, targets_N


def ours(hidden_ND, weight_VD, targets_N, scale=1.0):
    """Loss, gradient by hidden states, gradient by weight."""
    hidden_ND, weight_VD = (x.clone().requires_grad_() for x in (hidden_ND, weight_VD))
    loss = cross_entropy(hidden_ND, weight_VD, targets_N)
    (loss * scale).backward()
    return loss.detach(), hidden_ND.grad, weight_VD.grad


def reference(hidden_ND, weight_VD, targets_N, scale=1.0):
    """The same in float64, from whole logits."""
    hidden_ND, weight_VD = (x.double().requires_grad_() for x in (hidden_ND, weight_VD))
    loss = F.cross_entropy(
        hidden_ND @ weight_VD.t(), targets_N, ignore_index=IGNORED, reduction="sum"
    )
    (loss * scale).backward()
    return loss.detach(), hidden_ND.grad, weight_VD.grad


def agree(found, expected, **tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)


# The vocabulary decides how many positions are one chunk; the last case fills several.
SEVERAL = 3 * chunk_positions(torch.empty(20_000, 1)) + 17
CASES = [(1, 11, 0.0), (50, 11, 0.0), (300, 97, 0.3), (SEVERAL, 20_000, 0.2)]


@pytest.mark.parametrize(("positions", "vocab", "ignored"), CASES)
def test_loss_and_gradients_are_those_of_whole_logits(positions, vocab, ignored):
    batch = some_batch(positions, vocab, ignored)
    assert (batch[2] == IGNORED).any() == (ignored > 0)
    agree(ours(*batch), reference(*batch), atol=1e-5, rtol=1e-4)


def test_the_gradient_follows_the_scale_of_the_loss():
    batch = some_batch(300, 97, 0.3)
    agree(ours(*batch, scale=1 / 211), reference(*batch, scale=1 / 211), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(("positions", "vocab", "ignored"), CASES)
def test_the_loss_without_gradients_is_the_same(positions, vocab, ignored):
    batch = some_batch(positions, vocab, ignored)
    with torch.no_grad():
        loss = cross_entropy(*batch)
    torch.testing.assert_close(loss.double(), reference(*batch)[0], atol=1e-5, rtol=1e-6)


def test_ignored_positions_add_nothing_anywhere():
    hidden_ND, weight_VD, targets_N = some_batch(200, 50, 0.4)
    kept = targets_N != IGNORED
    loss, by_hidden, by_weight = ours(hidden_ND, weight_VD, targets_N)
    alone = ours(hidden_ND[kept], weight_VD, targets_N[kept])
    torch.testing.assert_close(loss, alone[0])
    torch.testing.assert_close(by_hidden[kept], alone[1])
    torch.testing.assert_close(by_weight, alone[2], atol=1e-5, rtol=1e-5)
    assert (by_hidden[~kept] == 0).all()


def test_the_head_reads_hardly_more_than_what_is_to_be_predicted():
    """Of a chat that are the answers. Chunks stay equal, or each would be compiled anew."""
    size = chunk_positions(torch.empty(20_000, 1))
    hidden_ND, weight_VD, targets_N = some_batch(5 * size, 20_000, 0.7)
    read = []

    def spy(hidden_ND, weight_VD, targets_N):
        read.append(targets_N)
        return chunk_gradients(hidden_ND, weight_VD, targets_N)

    cross_entropy(hidden_ND.requires_grad_(), weight_VD, targets_N, spy)
    learned = targets_N[targets_N != IGNORED]
    assert size < len(learned) < 2 * size
    assert [len(part) for part in read] == [size, size]
    assert torch.equal(torch.cat(read)[: len(learned)], learned)


def test_nothing_to_predict_is_a_loss_of_zero():
    hidden_ND, weight_VD, targets_N = some_batch(100, 50)
    for tensor in ours(hidden_ND, weight_VD, torch.full_like(targets_N, IGNORED)):
        assert (tensor == 0).all()


def test_logits_of_a_thousand_do_not_overflow():
    hidden_ND, weight_VD, targets_N = some_batch(40, 50)
    batch = (hidden_ND * 1000, weight_VD, targets_N)
    assert (batch[0] @ weight_VD.t()).abs().max() > 1000
    agree(ours(*batch), reference(*batch), atol=0.02, rtol=1e-4)


def test_equal_logits_cost_log_of_the_vocabulary():
    hidden_ND, weight_VD, targets_N = some_batch(70, 97)
    loss = cross_entropy(hidden_ND, torch.zeros_like(weight_VD), targets_N)
    assert loss.item() / 70 == pytest.approx(math.log(97), rel=1e-6)


def test_bf16_hidden_states_stay_within_their_rounding():
    """Against float64 from the same rounded inputs: what is left is rounding inside the loss."""
    hidden_ND, weight_VD, targets_N = some_batch(700, 300, 0.2, torch.bfloat16)
    found = ours(hidden_ND, weight_VD, targets_N)
    expected = reference(hidden_ND, weight_VD.bfloat16(), targets_N)
    assert [x.dtype for x in found] == [torch.float32, torch.bfloat16, torch.float32]
    assert found[0].item() == pytest.approx(expected[0].item(), rel=2e-3)
    for a, b in zip(found[1:], expected[1:], strict=True):
        error = (a.double() - b).square().mean().sqrt() / b.square().mean().sqrt()
        assert error < 0.01


def test_a_chunk_never_holds_more_logits_than_it_may():
    assert chunk_positions(torch.empty(50_000, 1)) * 50_000 <= 1 << 22
    assert (
        chunk_positions(torch.empty(1_000_000, 1)) == 64
    )  # but a chunk is never so small that it is slow


@pytest.mark.parametrize(("gigabytes", "logits"), [(141, 29), (80, 28), (24, 27), (8, 25)])
def test_a_chunk_fills_a_gpu_and_not_its_memory(gigabytes, logits):
    """Small ones are hundreds of launches a step, and the head's gradient goes by each time."""
    assert gpu_chunk_logits(gigabytes * 1e9) == 1 << logits
    eager = 17 * gpu_chunk_logits(gigabytes * 1e9)
    assert eager < gigabytes * 1e9 / 9
