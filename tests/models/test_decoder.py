"""The decoder sees only the past, starts where it should, and drops only while it learns."""

import math
from dataclasses import replace

import pytest
import torch
from made_decoder import CONFIGS, randomized
from torch.nn import functional as F

from xunlian.interop.huggingface import build
from xunlian.models import decoder, speedrun
from xunlian.models.attention import QUERY_BLOCK
from xunlian.models.dropout import dropout_bytes
from xunlian.models.speedrun import Speedrun

CONTEXT = 2 * QUERY_BLOCK + 44
LENGTHS = [1, 7, QUERY_BLOCK - 1, QUERY_BLOCK, QUERY_BLOCK + 1, 2 * QUERY_BLOCK + 44]


def some_tokens(rows, length, seed=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(61, (rows, length), generator=generator)


def fresh(config, seed, dropout=0.0):
    """A decoder as training starts with it."""
    model = build(config, dropout)
    initialize(model, torch.Generator().manual_seed(seed))
    return model


def initialize(model, generator):
    (speedrun if isinstance(model, Speedrun) else decoder).initialize(model, generator)


def with_all_blocks_awake(config, dropout=0.0):
    """Random weights, and dropout."""
    model = build(config, dropout)
    model.load_state_dict(randomized(config).state_dict())
    return model


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", ["sdpa", "matmul"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_future_tokens_do_not_change_past_logits(name, form, length):
    model = randomized(replace(CONFIGS[name], context=CONTEXT))
    model.attention_form = form
    tokens = some_tokens(2, length)
    before = model.logits(tokens)
    for cut in {length // 2, length - 1}:
        changed = tokens.clone()
        changed[:, cut:] = (changed[:, cut:] + 1) % 61
        after = model.logits(changed)
        torch.testing.assert_close(after[:, :cut], before[:, :cut], atol=1e-5, rtol=0)
        assert ((after[:, cut:] - before[:, cut:]).abs().amax(-1) > 1e-2).all()


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_prefix_has_the_logits_that_it_has_in_the_whole(name, form):
    model = randomized(replace(CONFIGS[name], context=CONTEXT))
    model.attention_form = form
    tokens = some_tokens(1, CONTEXT)
    whole = model.logits(tokens)
    for length in LENGTHS:
        part = model.logits(tokens[:, :length])
        torch.testing.assert_close(part, whole[:, :length], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_first_token_matters_to_the_last_logits(name):
    model = randomized(replace(CONFIGS[name], context=CONTEXT))
    tokens = some_tokens(1, CONTEXT)
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 61
    for form in ("sdpa", "matmul"):
        model.attention_form = form
        assert (model.logits(changed) - model.logits(tokens))[:, -1].abs().max() > 1e-4


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_rows_of_a_batch_do_not_see_each_other(name):
    model = randomized(CONFIGS[name])
    tokens = some_tokens(3, 20)
    together = model.logits(tokens)
    for row in range(3):
        alone = model.logits(tokens[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_bf16_activations_give_nearly_the_same_logits(name, form):
    model = randomized(CONFIGS[name])
    model.attention_form = form
    tokens = some_tokens(4, 24)
    assert model(tokens, torch.bfloat16).dtype == torch.bfloat16
    exact, rounded = model.logits(tokens), model.logits(tokens, torch.bfloat16)
    error = (rounded - exact).square().mean().sqrt() / exact.std()
    assert 0 < error < 0.03


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_initial_loss_is_that_of_guessing(name):
    model = fresh(CONFIGS[name], seed=1)
    tokens, targets = some_tokens(32, 24), some_tokens(32, 24, seed=9)
    loss = F.cross_entropy(model.logits(tokens).flatten(0, 1), targets.flatten()).item()
    # An untied head starts at zero: every token is exactly as probable as any other.
    assert loss == pytest.approx(math.log(61), abs=0.05 if model.config.tied else 1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_every_block_starts_as_the_identity(name):
    model = fresh(CONFIGS[name], seed=1)
    for block in model.blocks:
        x_BLD = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(1))
        rotary = None if model.config.is_gpt2 else (model.cos[:5], model.sin[:5])
        assert torch.equal(block(x_BLD, rotary, "sdpa"), x_BLD)


@pytest.mark.parametrize("name", CONFIGS)
def test_initialization_follows_from_its_generator_alone(name):
    torch.manual_seed(1)
    once = fresh(CONFIGS[name], seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = build(CONFIGS[name])
    state_after_construction = torch.get_rng_state()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.fill_(float("nan"))
    initialize(again, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state_after_construction)
    assert not torch.equal(state, state_after_construction)  # PyTorch's own first values
    other = fresh(CONFIGS[name], seed=6)
    for (key, a), b, c in zip(
        once.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b), key
        drawn = a.ndim == 2 and not key.endswith(
            ("output.weight", "head.weight", "value_gate.weight")
        )
        assert torch.equal(a, c) != drawn, key


def test_matrices_start_with_variance_one_over_inputs():
    model = fresh(replace(CONFIGS["qwen3"], width=256, mlp_width=512), seed=1)
    block = model.blocks[0]
    for layer in (block.attention.query, block.mlp.gate, block.mlp.up):
        assert layer.weight.std().item() == pytest.approx(256**-0.5, rel=0.03)
        assert layer.weight.mean().abs().item() < 0.001


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_dropout_is_only_in_training(name):
    model, plain = with_all_blocks_awake(CONFIGS[name], 0.3), randomized(CONFIGS[name])
    tokens = some_tokens(2, 24)
    assert torch.equal(model.eval().logits(tokens), plain.logits(tokens))
    model.train()
    torch.manual_seed(1)
    first, second = model.logits(tokens), model.logits(tokens)
    assert not torch.allclose(first, second, atol=1e-2)
    torch.manual_seed(1)
    assert torch.equal(model.logits(tokens), first)


@torch.no_grad()
def test_without_dropout_training_computes_what_evaluation_does():
    model = randomized(CONFIGS["qwen3"])
    tokens = some_tokens(2, 24)
    assert torch.equal(model.train().logits(tokens), model.eval().logits(tokens))


@torch.no_grad()
def test_dropout_falls_on_the_embedding_and_on_what_each_block_adds():
    model = with_all_blocks_awake(CONFIGS["qwen3"], 0.25).train()
    torch.manual_seed(3)
    entering = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    model(some_tokens(8, 24))
    dropped = (entering[0] == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.02)
    x_BLD = torch.randn(8, 24, 48)
    bytes_ = dropout_bytes(2, *x_BLD.shape, device=x_BLD.device)
    added = model.blocks[0](x_BLD, (model.cos[:24], model.sin[:24]), "sdpa", bytes_) - x_BLD
    # Nothing is added where both the attention's and the MLP's output were dropped.
    assert (added == 0).float().mean().item() == pytest.approx(0.25**2, abs=0.02)


def test_more_tokens_than_the_context_are_a_mistake_of_ours():
    with pytest.raises(AssertionError):
        randomized(CONFIGS["gpt2"]).logits(some_tokens(1, 25))
