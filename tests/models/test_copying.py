"""Heads that copy, written into the first weights."""

import pytest
import torch
from torch.nn import functional as F

from xunlian.errors import InputError
from xunlian.models.attention import CausalSelfAttention
from xunlian.models.copying import set_up_copying
from xunlian.models.decoder import Decoder, DecoderConfig, initialize
from xunlian.models.layers import joined_linear, rotate
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Model, Recipe, Training
from xunlian.training.networks import build_model

VOCAB, CONTEXT, HALF = 2000, 256, 128


def decoder(*, tied: bool = True, kv_heads: int = 4, depth: int = 4) -> Decoder:
    config = DecoderConfig(
        "qwen3", VOCAB, depth, 256, 4, kv_heads, 64, mlp_width=512, context=CONTEXT, tied=tied
    )
    model = Decoder(config)
    initialize(model, torch.Generator().manual_seed(1))
    return model


def said_twice(rows: int = 4) -> torch.Tensor:
    """Tokens at random, in each row the same ones again: (rows, CONTEXT)."""
    once = torch.randint(VOCAB, (rows, HALF), generator=torch.Generator().manual_seed(2))
    return torch.cat([once, once], dim=1)


@torch.no_grad()
def looks(model: Decoder, tokens_BL: torch.Tensor, back: int) -> list[list[float]]:
    """How much each head of each block looks at the position `back` before, in the second half."""
    x_BLD, rotary = model._enter(tokens_BL, torch.float32)
    assert rotary is not None
    found = []
    for block in model.blocks:
        attention = block.attention
        assert isinstance(attention, CausalSelfAttention)
        q, k, _ = (
            part.unflatten(-1, (-1, attention.head_width))
            for part in joined_linear(
                x_BLD, [attention.query, attention.key, attention.value], block.attention_norm
            )
        )
        q, k = rotate(attention.query_norm(q), *rotary), rotate(attention.key_norm(k), *rotary)
        k = k.repeat_interleave(attention.heads // attention.kv_heads, dim=2)
        scores = torch.einsum("blhk,bmhk->bhlm", q, k) / attention.head_width**0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(-1)
        here = weights.diagonal(-back, -2, -1)[..., HALF:]
        found.append(here.mean((0, 2)).tolist())
        x_BLD = block(x_BLD, rotary, "sdpa")
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("kv_heads", "copying"), [(4, [0, 1]), (2, [0]), (1, [0])])
def test_the_heads_look_where_they_should_before_any_training(tied, kv_heads, copying):
    model = decoder(tied=tied, kv_heads=kv_heads)
    set_up_copying(model, torch.Generator().manual_seed(3), block=2)
    tokens = said_twice()
    before = looks(model, tokens, 1)
    after_the_same = looks(model, tokens, HALF - 1)
    assert before[0][0] > 0.35
    for number, heads in enumerate(after_the_same):
        for head, look in enumerate(heads):
            copies = number == 2 and head in copying
            assert look > 0.15 if copies else look < 0.015, (number, head)


def test_what_was_said_before_is_expected_again():
    tokens = said_twice()

    def losses(model: Decoder) -> tuple[float, float]:
        with torch.no_grad():
            logits = model.logits(tokens)[:, :-1].transpose(1, 2)
        each = F.cross_entropy(logits, tokens[:, 1:], reduction="none")
        return float(each[:, : HALF - 2].mean()), float(each[:, HALF:].mean())

    model = decoder()
    first, second = losses(model)
    assert second == pytest.approx(first, abs=0.02)
    set_up_copying(model, torch.Generator().manual_seed(3))
    with_heads, again = losses(model)
    assert with_heads == pytest.approx(first, abs=0.1)
    assert again < with_heads - 0.3


def resolved(vocab_size=2000, model=None, **training) -> Recipe:
    small = {"depth": 3, "width": 64, "context": 32, **(model or {})}
    recipe = Recipe(model=Model(**small), training=Training(budget="100 steps", **training))
    return resolve(
        recipe, vocab_size=vocab_size, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False
    )


def test_it_is_on_where_few_blocks_learn_first_and_the_vocabulary_is_not_small():
    assert resolved(grow_from=2).training.copying_start is True
    assert resolved(grow_from=2, copying_start=False).training.copying_start is False
    assert resolved(grow_from=2, vocab_size=500).training.copying_start is False
    assert resolved(grow_from=2, model={"architecture": "llama"}).training.copying_start is False
    assert resolved(grow_from=1).training.copying_start is False
    assert resolved(grow_from=0).training.copying_start is False
    assert resolved().training.copying_start is False  # three blocks
    assert resolved(copying_start=True).training.copying_start is True
    assert resolved(vocab_size=500, copying_start=True).training.copying_start is True


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({"architecture": "gpt2"}, {}),
        ({"depth": 1}, {}),
        ({}, {"grow_from": 1}),
        ({}, {"bigram_start": True}),
    ],
)
def test_where_it_cannot_be_it_is_refused(model, training):
    with pytest.raises(InputError, match=r"training\.copying_start is for .* Leave it out\.$"):
        resolved(model=model, copying_start=True, **training)


@pytest.mark.parametrize(("grow_from", "block"), [(0, 1), (2, 3), (3, 2)])
def test_the_block_that_copies_is_one_that_learns_from_the_start(grow_from, block):
    recipe = resolved(model={"depth": 6}, grow_from=grow_from, copying_start=True)
    model = build_model(recipe, 2000)
    writing = [bool(one.attention.output.weight.any()) for one in model.blocks]
    assert [number for number, writes in enumerate(writing) if writes] == [0, block]
    plain = build_model(resolved(model={"depth": 6}, grow_from=0), 2000)
    assert not any(one.attention.output.weight.any() for one in plain.blocks)
