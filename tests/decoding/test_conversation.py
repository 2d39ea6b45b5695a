"""A conversation's engine against one that remembers nothing, whatever happens to the text."""

from dataclasses import replace

import pytest
import torch
from made_decoder import CONFIGS, randomized

from xunlian.decoding.conversation import ConversationEngine
from xunlian.decoding.engine import BF16_CACHE_ROWS, Engine
from xunlian.decoding.generate import generate_tokens
from xunlian.machine.features import read_machine
from xunlian.recipe.settings import Decoding

GREEDY = Decoding(temperature=0, max_tokens=5)
TEXT = [5, 17, 3, 3, 40, 21, 8, 59, 30]


def logits_after(engine, text, rows=1):
    """The logits (rows, V) of the next token."""
    cache = engine.new_cache(rows, len(text) + 1)
    cache.used = len(text)
    found = engine.read(cache, dict.fromkeys(range(rows), text))
    return torch.stack([found[row] for row in range(rows)])


def said(engine, text, decoding=GREEDY, rows=1):
    found = [[] for _ in range(rows)]
    for number, token in generate_tokens(engine, [text] * rows, decoding, set()):
        found[number].append(token)
    return found


def assert_same_logits(conversation, model, text):
    fresh = logits_after(Engine(model, "fp32"), text)
    torch.testing.assert_close(logits_after(conversation, text), fresh, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_answer_that_was_broken_off_anywhere_leaves_nothing_wrong(name):
    """Ctrl-C between two tokens, and in a step, when only the first layer has the token's keys."""
    model = randomized(CONFIGS[name])
    (whole,) = said(Engine(model, "fp32"), TEXT)
    for last_pass in (0, 1, 3):  # the prompt, and two of the tokens
        engine = Engine(model, "fp32")
        conversation, layer, passes = ConversationEngine(engine), engine._layers[0], []

        def failing(x, layer=layer, passes=passes, last_pass=last_pass):
            passes.append(x)
            if len(passes) > last_pass:
                raise KeyboardInterrupt
            return layer.mlp(x)

        engine._layers[0] = replace(layer, mlp=failing)
        came = []
        with pytest.raises(KeyboardInterrupt):
            for _, token in generate_tokens(conversation, [TEXT], GREEDY, set()):
                came.append(token)
        engine._layers[0] = layer
        assert came == whole[:last_pass]
        assert_same_logits(conversation, model, [*TEXT, *came, 7, 2, 9])
    conversation = ConversationEngine(Engine(model, "fp32"))
    answer = generate_tokens(conversation, [TEXT], GREEDY, set())
    came = [next(answer)[1] for _ in range(3)]
    answer.close()
    assert came == whole[:3]
    assert_same_logits(conversation, model, [*TEXT, *came, 7, 2, 9])


def test_a_step_that_is_taken_back_is_forgotten():
    """As ratings are asked for (rerank.py): one after the other, in the same column."""
    model = randomized(CONFIGS["qwen3"])
    conversation = ConversationEngine(Engine(model, "fp32"))
    cache = conversation.new_cache(1, len(TEXT) + 1)
    cache.used = len(TEXT)
    conversation.read(cache, {0: TEXT})
    for token in (11, 12):
        conversation.step(cache, torch.tensor([token]))
        cache.used = len(TEXT)
    for token in (11, 12):
        assert_same_logits(conversation, model, [*TEXT, token, 4])


@pytest.mark.parametrize("rows", [1, 6])
def test_the_memory_is_that_of_one_row(rows):
    model = randomized(CONFIGS["qwen3"])
    conversation = ConversationEngine(Engine(model, "fp32"))
    sampled = Decoding(temperature=1, max_tokens=5, seed=3)
    found = said(conversation, TEXT, sampled, rows)
    assert found == said(Engine(model, "fp32"), TEXT, sampled, rows)
    for tensor in (*conversation._known.keys, *conversation._known.values):
        assert len(tensor) == 1 and tensor.shape[2] <= len(TEXT) + 5
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()
    assert_same_logits(conversation, model, [*TEXT, *found[0][:2], 8])


@pytest.mark.parametrize("processor", [("avx512_bf16",), ("avx512_bf16", "amx_bf16")])
def test_in_bf16_it_is_as_exact_as_a_reading_anew(processor, monkeypatch):
    machine = replace(read_machine(), features=processor)
    monkeypatch.setattr("xunlian.decoding.engine.read_machine", lambda: machine)
    model = randomized(CONFIGS["qwen3 grouped"])
    conversation = ConversationEngine(Engine(model, "bf16"))
    logits_after(conversation, TEXT, rows=BF16_CACHE_ROWS)  # kept in bf16
    text = [*TEXT, 7, 2, 9]
    exact = logits_after(Engine(model, "fp32"), text)
    for rows in (1, BF16_CACHE_ROWS):
        error = logits_after(conversation, text, rows) - exact
        assert 0 < error.square().mean().sqrt() / exact.std() < 0.03
