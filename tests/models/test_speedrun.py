"""The speedrun decoder computes what its description says, written out plainly in fp64."""

import pytest
import torch
from made_decoder import CONFIGS, randomized

from xunlian.models.speedrun import has_values, initialize

CONFIG = CONFIGS["speedrun"]


def plain_logits(weights, config, tokens):
    """Logits (L, V) of one row, a position and a head at a time."""

    def norm(x, gain):
        return x / (x.square().mean() + config.norm_epsilon).sqrt() * gain

    def turned(x, position):
        half = config.head_width // 2
        angles = position * config.rope_theta ** (-torch.arange(half, dtype=x.dtype) / half)
        a, b = x[:half], x[half:]
        return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()])

    embedded = [weights["embedding.weight"][token] for token in tokens]
    stream = list(embedded)
    width, shared = config.head_width, config.heads // config.kv_heads
    for number in range(config.depth):
        part = {
            name.removeprefix(f"blocks.{number}."): weight
            for name, weight in weights.items()
            if name.startswith(f"blocks.{number}.")
        }
        a, b = part["scales"]
        stream = [a * x + b * e for x, e in zip(stream, embedded, strict=True)]
        keys, values = [], []
        added = []
        for position, (x, token) in enumerate(zip(stream, tokens, strict=True)):
            y = norm(x, part["attention_norm.weight"])
            keys.append((part["attention.key.weight"] @ y).split(width))
            mine = list((part["attention.value.weight"] @ y).split(width))
            if f"values.{number}" in weights:
                bare = norm(x, 1.0)[:32]
                gates = 2 * torch.sigmoid(part["value_gate.weight"] @ bare)
                extra = weights[f"values.{number}"][token].split(width)
                mine = [v + g * e for v, g, e in zip(mine, gates, extra, strict=True)]
            values.append(mine)
            mixed = []
            for head, query in enumerate((part["attention.query.weight"] @ y).split(width)):
                query = turned(norm(query, part["attention.query_norm.weight"]), position)
                scores = []
                for before in range(position + 1):
                    key = norm(keys[before][head // shared], part["attention.key_norm.weight"])
                    scores.append(query @ turned(key, before) / width**0.5)
                weighs = torch.stack(scores).softmax(0)
                mixed.append(
                    sum(w * v[head // shared] for w, v in zip(weighs, values, strict=True))
                )
            added.append(part["attention.output.weight"] @ torch.cat(mixed))
        stream = [x + more for x, more in zip(stream, added, strict=True)]
        for position, x in enumerate(stream):
            y = norm(x, part["mlp_norm.weight"])
            gate = part["mlp.gate.weight"] @ y
            hidden = gate / (1 + (-gate).exp()) * (part["mlp.up.weight"] @ y)
            stream[position] = x + part["mlp.output.weight"] @ hidden
    final = torch.stack([norm(x, weights["norm.weight"]) for x in stream])
    return final @ weights["head.weight"].t()


@pytest.fixture(scope="module")
def made():
    """A model, a row of tokens, and the model's weights in fp64."""
    model = randomized(CONFIG)
    tokens = torch.randint(61, (9,), generator=torch.Generator().manual_seed(2))
    exact = {n: p.detach().double().requires_grad_() for n, p in model.named_parameters()}
    return model, tokens, exact


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
@torch.no_grad()
def test_logits_are_those_of_the_plain_form(made, form):
    model, tokens, exact = made
    model.attention_form = form
    expected = plain_logits(exact, CONFIG, tokens.tolist())
    assert expected.std() > 0.5
    torch.testing.assert_close(model.logits(tokens[None])[0].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
def test_gradients_are_those_of_the_plain_form(made, form):
    model, tokens, exact = made
    model.attention_form = form
    probe = torch.randn(9, 61, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = torch.autograd.grad(
        (plain_logits(exact, CONFIG, tokens.tolist()) * probe).sum(), list(exact.values())
    )
    found = torch.autograd.grad(
        (model.logits(tokens[None])[0].double() * probe).sum(), list(model.parameters())
    )
    for name, ours, theirs in zip(exact, found, wanted, strict=True):
        assert theirs.abs().max() > 0, name
        error = (ours.double() - theirs).norm() / theirs.norm()
        assert error < 1e-4, name


def test_the_last_block_and_every_other_before_it_have_value_embeddings():
    assert [has_values(CONFIG, number) for number in range(CONFIG.depth)] == [True, False, True]
    assert set(randomized(CONFIG).values) == {"0", "2"}


@torch.no_grad()
def test_at_first_a_block_reads_the_stream_alone_and_gates_are_one():
    model = randomized(CONFIG)
    initialize(model, torch.Generator().manual_seed(1))
    for block in model.blocks:
        assert block.scales.tolist() == [1.0, 0.0]
        if block.value_gate is not None:
            assert not block.value_gate.weight.any()
