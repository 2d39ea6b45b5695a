"""Products in 8 bits are the exact ones, to the precision of the format, and go where they belong.

A CPU computes them, too, slowly.
"""

import pytest
import torch
from torch.nn import functional as F

from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.fp8 import fp8_linear, use_fp8
from xunlian.models.layers import Linear, linear
from xunlian.models.losses import cross_entropy

VOCAB, CONTEXT = 50, 32


def made(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made_decoder(architecture: str = "qwen3") -> Decoder:
    torch.manual_seed(7)
    model = Decoder(
        DecoderConfig(architecture, VOCAB, 2, 64, 2, 2, 32, 128, CONTEXT, architecture == "gpt2")
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
    return model


def error(one: torch.Tensor, exact: torch.Tensor) -> float:
    one, exact = one.detach().double(), exact.detach().double()
    return float((one - exact).norm() / exact.norm())


def rounded(x: torch.Tensor, digits: int) -> torch.Tensor:
    """`x` with so many binary digits after the first: what a format of 8 bits keeps of numbers
    that are neither too large nor too small for it.
    """
    mantissa, exponent = torch.frexp(x.double())
    return torch.ldexp((mantissa * 2 ** (digits + 1)).round() / 2 ** (digits + 1), exponent)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_product_and_gradients_are_right_to_the_digits_of_the_formats(scale):
    """3 binary digits of both factors; the weight's gradient loses none."""
    x = made(4, 24, 64, seed=1, scale=scale).bfloat16().requires_grad_()
    weight = made(48, 64, seed=2).requires_grad_()
    bias = made(48, seed=3, scale=scale).requires_grad_()
    slope = made(4, 24, 48, seed=4, scale=scale).bfloat16()
    y = fp8_linear(x, weight, bias)
    y.backward(slope)
    assert y.shape == (4, 24, 48) and y.dtype == torch.bfloat16
    flat, slopes = x.detach().flatten(0, 1).double(), slope.flatten(0, 1).double()
    product = flat @ weight.detach().double().t()
    exact = product + bias.detach().double()
    # The scale that spreads a row over the range is no power of two, so digits fall otherwise.
    expected = error(rounded(flat, 3) @ rounded(weight.detach(), 3).t(), product)
    assert error(y.flatten(0, 1), exact) == pytest.approx(expected, rel=0.5)
    by_x = slopes @ weight.detach().double()
    expected = error(rounded(slopes, 3) @ rounded(weight.detach(), 3), by_x)
    assert error(x.grad.flatten(0, 1), by_x) == pytest.approx(expected, rel=0.5)
    assert error(weight.grad, slopes.t() @ flat) < 0.004  # bf16
    assert error(bias.grad, slopes.sum(0)) < 0.004
    assert (x.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_one_large_number_neither_overflows_nor_is_cut_off():
    x = made(16, 64, seed=1).bfloat16()
    x[3, 5] = 30_000.0
    weight = torch.eye(64).requires_grad_()
    y = fp8_linear(x, weight, None)
    assert y.isfinite().all()
    assert y[3, 5].item() == pytest.approx(30_000.0, rel=0.07)


def test_each_row_has_a_scale_of_its_own():
    """A small position beside one that is ten million times as large keeps its digits."""
    x = made(16, 64, seed=1).bfloat16()
    weight = made(48, 64, seed=2).requires_grad_()
    alone = fp8_linear(x, weight, None)
    x[3] *= 1e7
    beside = fp8_linear(x, weight, None)
    others = [row for row in range(16) if row != 3]
    assert torch.equal(beside[others], alone[others])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(wrong):
    x = made(16, 64, seed=1).bfloat16()
    x[0, 0] = wrong
    assert not fp8_linear(x, made(32, 64, seed=2).requires_grad_(), None).isfinite().all()


def test_without_gradients_the_product_is_in_bf16():
    x, weight, bias = made(8, 64, seed=1).bfloat16(), made(48, 64, seed=2), made(48, seed=3)
    with torch.no_grad():
        found = fp8_linear(x, weight, bias)
    assert torch.equal(found, F.linear(x, weight.bfloat16(), bias.bfloat16()))


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_every_product_of_the_blocks_is_in_8_bits_and_no_other(architecture, monkeypatch):
    model = made_decoder(architecture)
    use_fp8(model.blocks)
    layers = [m for m in model.modules() if isinstance(m, Linear)]
    assert {m.product for m in layers if m is not model.head} == {fp8_linear}
    assert model.head is None or model.head.product is linear
    # joined products: queries, keys and values; gate and up of a SwiGLU
    taken = []
    multiply = torch._scaled_mm
    monkeypatch.setattr(torch, "_scaled_mm", lambda *a, **k: taken.append(1) or multiply(*a, **k))
    hidden = model(torch.zeros(2, CONTEXT, dtype=torch.int64), torch.bfloat16)
    assert len(taken) == 4 * len(model.blocks)
    hidden.sum().backward()
    assert len(taken) == 8 * len(model.blocks)


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_a_block_compiles_whole(architecture, fp8):
    """No break of the graph, so that nothing runs uncompiled on a GPU."""
    model = made_decoder(architecture)
    if fp8:
        use_fp8(model.blocks)
    rotary = None if architecture == "gpt2" else (model.cos, model.sin)
    block = model.blocks[0]
    x = made(2, CONTEXT, 64, seed=1).bfloat16().requires_grad_()
    eager = block(x, rotary, "sdpa")
    whole = torch.compile(block, fullgraph=True, dynamic=False, backend="aot_eager")
    compiled = whole(x, rotary, "sdpa")
    assert torch.allclose(eager.float(), compiled.float(), atol=0.05)
    (by_x,) = torch.autograd.grad(compiled.float().square().sum(), x)
    (expected,) = torch.autograd.grad(eager.float().square().sum(), x)
    assert error(by_x, expected) < 0.05


def test_a_decoder_learns_in_8_bits_as_in_bf16():
    tokens = torch.randint(0, VOCAB, (8, CONTEXT + 1), generator=torch.Generator().manual_seed(3))
    losses = []
    for fp8 in (False, True):
        model = made_decoder()
        if fp8:
            use_fp8(model.blocks)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(40):
            hidden = model(tokens[:, :-1], torch.bfloat16).flatten(0, 1)
            loss = cross_entropy(hidden, model.head_weight, tokens[:, 1:].flatten())
            loss = loss / tokens[:, 1:].numel()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 1.0  # of 3.9
    assert losses[1] == pytest.approx(losses[0], abs=0.1)
    assert losses[1] != losses[0]
