"""The products of a step are all found, and counted as the mathematics counts them."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from xunlian.models.recurrence import Recurrence

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def mfu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mfu

    yield mfu
    for name in ("mfu", "records"):
        sys.modules.pop(name, None)


def flops(collector) -> float:
    return sum(product.flops * count for product, count in collector.products.items())


def test_a_layer_is_multiplied_forward_by_input_and_by_weight(mfu):
    x, weight = torch.randn(2, 8, 16, requires_grad=True), torch.randn(4, 16, requires_grad=True)
    with mfu.Collector() as collector:
        F.linear(x, weight).sum().backward()
    assert flops(collector) == 3 * 2 * (2 * 8) * 16 * 4
    shapes = {(*p.left[0], p.right[0][-1]) for p in collector.products}
    assert shapes == {(16, 16, 4), (16, 4, 16), (4, 16, 16)}


def test_half_of_a_causal_attention_is_counted(mfu):
    q, k, v = (torch.randn(2, 3, 32, 8, requires_grad=True) for _ in range(3))
    with mfu.Collector() as collector:
        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
    # Two products forward, four back, each 2 x rows x heads x L x L x K, of which half is needed.
    assert flops(collector) == pytest.approx(6 * 2 * (2 * 3) * 32 * 32 * 8 / 2)


@pytest.mark.parametrize("family", ["lstm", "gru", "rnn"])
def test_a_recurrent_layer_has_six_operations_a_parameter_and_token(mfu, family):
    layer, x = Recurrence(family, 24, 16), torch.randn(5, 3, 24, requires_grad=True)
    with mfu.Collector() as collector:
        layer(x)[0].sum().backward()
    matrices = layer.input.weight.numel() + layer.hidden.weight.numel()
    # The first step has no gradient to hand on to an earlier h.
    first = 2 * 3 * layer.hidden.weight.numel()
    assert 6 * matrices * 15 - first <= flops(collector) <= 6 * matrices * 15


def test_a_product_is_timed_in_the_layout_that_it_has(mfu):
    left = ((4, 8), (1, 4))  # transposed
    product = mfu.Product(left, ((8, 2), (2, 1)), torch.float32)
    assert product.flops == 2 * 4 * 8 * 2
    mfu.SECONDS = 0.0
    assert product.seconds() > 0
