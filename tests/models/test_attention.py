"""Both forms of causal attention against softmax(q k' / sqrt(K)) v, written out in float64."""

import pytest
import torch

from xunlian.models.attention import QUERY_BLOCK, CausalSelfAttention, causal_attention
from xunlian.models.layers import make_norm, rotary_table

FORMS = ["sdpa", "matmul"]
LENGTHS = [1, 5, QUERY_BLOCK, QUERY_BLOCK + 1, 2 * QUERY_BLOCK - 1, 2 * QUERY_BLOCK + 37]


def by_hand(q_BHLK, k_BHLK, v_BHLK):
    """One query at a time, over the keys up to its own."""
    rows = []
    for i in range(q_BHLK.shape[2]):
        scores = (q_BHLK[:, :, i : i + 1] * k_BHLK[:, :, : i + 1]).sum(-1)
        exponentials = (scores / q_BHLK.shape[-1] ** 0.5).exp()
        weights = exponentials / exponentials.sum(-1, keepdim=True)
        rows.append((weights.unsqueeze(-1) * v_BHLK[:, :, : i + 1]).sum(2))
    return torch.stack(rows, dim=2)


def some(*shape, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", FORMS)
def test_attention_and_its_gradients_are_those_of_the_formula(form, length):
    parts = [some(2, 3, length, 8, seed=seed) for seed in range(3)]
    slope = some(2, 3, length, 8, seed=3)
    ours = [part.clone().requires_grad_() for part in parts]
    mixed = causal_attention(*ours, form)
    mixed.backward(slope)
    exact = [part.double().requires_grad_() for part in parts]
    expected = by_hand(*exact)
    expected.backward(slope.double())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.double(), expected, atol=1e-5, rtol=0)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_texts_packed_in_a_row_attend_as_if_each_were_alone(form):
    """With all gradients; the texts begin and end anywhere in the blocks of queries."""
    lengths = [[100, 1, 150, 60], [311], [40, 271]]
    numbers_BL = torch.stack(
        [torch.arange(len(row)).repeat_interleave(torch.tensor(row)) for row in lengths]
    )
    same_BLL = (numbers_BL.unsqueeze(2) == numbers_BL.unsqueeze(1)).tril()
    mask_B1LL = torch.zeros(same_BLL.shape).masked_fill(~same_BLL, float("-inf")).unsqueeze(1)
    parts = [some(3, 2, 311, 8, seed=seed) for seed in range(3)]
    slope = some(3, 2, 311, 8, seed=3)
    ours = [part.clone().requires_grad_() for part in parts]
    mixed = causal_attention(*ours, form, mask_B1LL)
    mixed.backward(slope)
    exact = [part.double().requires_grad_() for part in parts]
    rows = []
    for i, row in enumerate(lengths):
        texts = zip(*(x[i : i + 1].split(row, dim=2) for x in exact), strict=True)
        rows.append(torch.cat([by_hand(*text) for text in texts], dim=2))
    expected = torch.cat(rows)
    expected.backward(slope.double())
    torch.testing.assert_close(mixed.double(), expected, atol=1e-5, rtol=0)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_attention_in_bf16_is_near_the_formula(form):
    parts = [some(2, 3, 150, 16, seed=seed, dtype=torch.bfloat16) for seed in range(3)]
    slope = some(2, 3, 150, 16, seed=3, dtype=torch.bfloat16)
    ours = [part.clone().requires_grad_() for part in parts]
    mixed = causal_attention(*ours, form)
    mixed.backward(slope)
    exact = [part.double().requires_grad_() for part in parts]
    expected = by_hand(*exact)
    expected.backward(slope.double())
    assert mixed.dtype == torch.bfloat16
    pairs = [(mixed, expected), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]
    for found, wanted in pairs:
        error = (found.double() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
        assert error < 0.01


@pytest.mark.parametrize("form", FORMS)
def test_large_scores_do_not_overflow(form):
    q, k, v = (100 * some(1, 1, 140, 8, seed=seed) for seed in range(3))
    found = causal_attention(q, k, v, form)
    scores = (q.double() @ k.double().transpose(-1, -2)) / 8**0.5
    scores = scores.masked_fill(torch.ones(140, 140, dtype=torch.bool).triu(1), float("-inf"))
    assert scores.abs()[scores.isfinite()].max() > 1000
    torch.testing.assert_close(
        found.double(), scores.softmax(-1) @ v.double(), atol=0.05, rtol=1e-3
    )


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [9, QUERY_BLOCK + 30])
def test_both_forms_of_a_layer_agree_with_all_gradients(length, kv_heads, rotary):
    layer = CausalSelfAttention(
        width=24,
        heads=4,
        kv_heads=kv_heads,
        head_width=8,
        qkv_bias=not rotary,
        output_bias=not rotary,
        qk_norm=rotary,
        epsilon=1e-6,
    )
    norm = make_norm("rms" if rotary else "layer", 24, 1e-6)
    with torch.no_grad():
        for seed, parameter in enumerate([*layer.parameters(), *norm.parameters()]):
            parameter.copy_(0.5 * some(*parameter.shape, seed=seed))
    table = rotary_table(length, 8, 10_000.0) if rotary else None
    found = {}
    for form in FORMS:
        layer.zero_grad()
        norm.zero_grad()
        x_BLD = some(2, length, 24, seed=50).requires_grad_()
        y_BLD = layer(x_BLD, norm, table, form)
        (y_BLD * some(2, length, 24, seed=51)).sum().backward()
        gradients = {key: p.grad.clone() for key, p in layer.named_parameters()}
        gradients |= {f"norm.{key}": p.grad.clone() for key, p in norm.named_parameters()}
        found[form] = {"output": y_BLD.detach(), "input": x_BLD.grad, **gradients}
    for key, tensor in found["sdpa"].items():
        scale = tensor.abs().max().item()
        assert scale > 1e-3 or key == "key.bias", key  # softmax does not see the keys' bias
        torch.testing.assert_close(
            found["matmul"][key], tensor, atol=1e-5 * max(scale, 10), rtol=0, msg=key
        )


@torch.no_grad()
def test_grouped_queries_are_full_attention_with_keys_and_values_repeated():
    def layer(kv_heads):
        return CausalSelfAttention(
            width=24,
            heads=4,
            kv_heads=kv_heads,
            head_width=8,
            qkv_bias=False,
            output_bias=False,
            qk_norm=True,
            epsilon=1e-6,
        )

    grouped, full = layer(2), layer(4)
    weights = grouped.state_dict()
    for name in ("key.weight", "value.weight"):
        heads = weights[name].view(2, 8, 24)
        weights[name] = torch.stack([heads[0], heads[0], heads[1], heads[1]]).view(32, 24)
    full.load_state_dict(weights)
    norm, table, x_BLD = make_norm("rms", 24, 1e-6), rotary_table(20, 8, 100.0), some(2, 20, 24)
    for form in FORMS:
        torch.testing.assert_close(
            grouped(x_BLD, norm, table, form), full(x_BLD, norm, table, form)
        )


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_rotary_attention_depends_on_distances_only(form):
    layer = CausalSelfAttention(
        width=24,
        heads=4,
        kv_heads=2,
        head_width=8,
        qkv_bias=False,
        output_bias=False,
        qk_norm=True,
        epsilon=1e-6,
    )
    norm, x_BLD = make_norm("rms", 24, 1e-6), some(1, 20, 24)
    cos, sin = rotary_table(100, 8, 100.0)
    near = layer(x_BLD, norm, (cos[:20], sin[:20]), form)
    far = layer(x_BLD, norm, (cos[70:90], sin[70:90]), form)
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)
    stretched = layer(x_BLD, norm, (cos[:40:2], sin[:40:2]), form)
    assert (near - stretched).abs().max() > 1e-3


@pytest.mark.parametrize(("qk_norm", "kv_heads"), [(True, 4), (True, 2), (False, 4)])
def test_nothing_keeps_a_gpu_from_flash_attention(monkeypatch, qk_norm, kv_heads):
    """PyTorch takes it (sdp_utils.cpp) in half precision, without a mask, for equal numbers of
    heads and equal lengths, heads of at most 256 in multiples of 8, contiguous last dimensions.
    """
    seen = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(*parts, **options):
        seen.append((parts, options))
        return fused(*parts, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    layer = CausalSelfAttention(
        width=256,
        heads=4,
        kv_heads=kv_heads,
        head_width=64,
        qkv_bias=False,
        output_bias=False,
        qk_norm=qk_norm,
        epsilon=1e-6,
    )
    rotary = rotary_table(32, 64, 10_000.0) if qk_norm else None
    x = some(2, 32, 256, dtype=torch.bfloat16).requires_grad_()
    layer(x, make_norm("rms", 256, 1e-6), rotary, "sdpa").sum().backward()
    ((parts, options),) = seen
    assert options == {"is_causal": True}
    for part in parts:
        assert part.dtype == torch.bfloat16 and part.shape == (2, 4, 32, 64)
        assert part.stride(-1) == 1 and part.requires_grad
