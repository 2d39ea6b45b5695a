"""Logits out of the cache against the whole forward pass of models/decoder.py."""

from dataclasses import replace

import pytest
import torch
from made_decoder import CONFIGS, randomized

from xunlian.decoding import engine as engine_file
from xunlian.decoding import prefix as prefix_file
from xunlian.decoding.cache import Cache
from xunlian.decoding.engine import BF16_CACHE_ROWS, Engine
from xunlian.decoding.prefix import NOTHING, Prefix
from xunlian.machine.features import read_machine

PROMPT_LENGTHS = [1, 7, 12, 7, 3]


def some_texts(lengths, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(61, (length,), generator=generator).tolist() for length in lengths]


def uncached(model, text):
    with torch.no_grad():
        return model.logits(torch.tensor([text]))[0, -1]


class Reading:
    """A cache with texts in it, stepped while the whole texts are kept beside it."""

    def __init__(self, engine, texts, columns=24, prefix=NOTHING):
        self.engine, self.texts = engine, [list(text) for text in texts]
        self.cache = engine.new_cache(len(texts), columns)
        self.cache.used = max(map(len, texts))
        found = engine.read(self.cache, dict(enumerate(self.texts)), prefix)
        self.logits = torch.stack([found[row] for row in range(len(texts))])
        self.generator = torch.Generator().manual_seed(4)

    def step(self):
        tokens = torch.randint(61, (len(self.texts),), generator=self.generator)
        for text, token in zip(self.texts, tokens.tolist(), strict=True):
            text.append(token)
        self.logits = self.engine.step(self.cache, tokens)

    def agrees(self, model, atol=1e-4):
        for text, logits in zip(self.texts, self.logits, strict=True):
            torch.testing.assert_close(logits, uncached(model, text), atol=atol, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_cached_logits_are_uncached_logits_at_every_step(name):
    model = randomized(CONFIGS[name])
    reading = Reading(Engine(model, "fp32"), some_texts(PROMPT_LENGTHS))
    reading.agrees(model)
    for _ in range(12):
        reading.step()
        reading.agrees(model)
    assert max(map(len, reading.texts)) == model.config.context


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_cached_logits_are_right_for_every_grouping(kv_heads, tied):
    model = randomized(replace(CONFIGS["qwen3"], kv_heads=kv_heads, tied=tied, rope_theta=500.0))
    reading = Reading(Engine(model, "fp32"), some_texts([4, 9]))
    for _ in range(3):
        reading.step()
    reading.agrees(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_can_be_forgotten_on_the_way(name):
    model = randomized(CONFIGS[name])
    reading = Reading(Engine(model, "fp32"), some_texts(PROMPT_LENGTHS))
    reading.step()
    for kept in ([0, 1, 3], [2, 0]):  # the longest rows go, and all move left; then an exchange
        reading.cache.keep(kept)
        reading.texts = [reading.texts[row] for row in kept]
        assert reading.cache.used == max(map(len, reading.texts))
        for _ in range(3):
            reading.step()
            reading.agrees(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_can_be_read_anew_with_a_shorter_text(name):
    model = randomized(CONFIGS[name])
    reading = Reading(Engine(model, "fp32"), some_texts(PROMPT_LENGTHS))
    reading.step()
    reading.texts[2] = reading.texts[2][-4:]
    found = reading.engine.read(reading.cache, {2: reading.texts[2]})
    torch.testing.assert_close(found[2], uncached(model, reading.texts[2]), atol=1e-4, rtol=0)
    reading.cache.close_up()
    assert reading.cache.used == 8
    for _ in range(3):
        reading.step()
        reading.agrees(model)


def test_prompts_are_read_in_parts_when_there_are_many(monkeypatch):
    monkeypatch.setattr(engine_file, "READ_TOKENS", 15)  # two rows of seven at once
    model = randomized(CONFIGS["qwen3 grouped"])
    reading = Reading(Engine(model, "fp32"), some_texts([7, 7, 20, 7, 7, 7]))
    reading.agrees(model)
    reading.step()
    reading.agrees(model)


def counting(engine, monkeypatch):
    """How many tokens go through the network, pass by pass."""
    passed, forward = [], engine._forward

    def watched(tokens_BL, *rest):
        passed.append(tokens_BL.numel())
        return forward(tokens_BL, *rest)

    monkeypatch.setattr(engine, "_forward", watched)
    return passed


@pytest.mark.parametrize("block", [2, 512])  # queries that attend together
@pytest.mark.parametrize("name", CONFIGS)
def test_of_a_text_only_what_follows_a_known_beginning_is_read(name, block, monkeypatch):
    monkeypatch.setattr(prefix_file, "QUERY_BLOCK", block)
    model = randomized(CONFIGS[name])
    engine = Engine(model, "fp32")
    known, rest, other = some_texts([9, 6, 7])
    earlier = Reading(engine, [known])
    prefix = Prefix(known, earlier.cache.keys, earlier.cache.values)
    apart = [*known[:4], (known[4] + 1) % 61, *rest]
    texts = [[*known, *rest], apart, [(known[0] + 1) % 61, *other], known, known[:6], apart]
    passed = counting(engine, monkeypatch)
    reading = Reading(engine, texts, prefix=prefix)
    assert sum(passed) == len(rest) + (1 + len(rest)) + (1 + len(other)) + 1 + 1
    reading.agrees(model)
    for _ in range(3):
        reading.step()
        reading.agrees(model)


def test_a_text_of_several_rows_is_read_once(monkeypatch):
    model = randomized(CONFIGS["qwen3 grouped"])
    engine = Engine(model, "fp32")
    one, other = some_texts([7, 7])
    passed = counting(engine, monkeypatch)
    reading = Reading(engine, [one, other, one, one, other[:3]])
    assert sum(passed) == 7 + 7 + 3
    reading.agrees(model)
    for _ in range(3):
        reading.step()  # each row goes on otherwise
        reading.agrees(model)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("rows", [3, BF16_CACHE_ROWS])
@pytest.mark.parametrize("processor", [("avx512_bf16",), ("avx512_bf16", "amx_bf16")])
def test_bf16_products_give_nearly_the_same_logits(processor, rows, name, monkeypatch):
    machine = replace(read_machine(), features=processor)
    monkeypatch.setattr(engine_file, "read_machine", lambda: machine)
    model = randomized(CONFIGS[name])
    reading = Reading(Engine(model, "bf16"), some_texts([1 + row % 6 for row in range(rows)]))
    narrow = reading.cache.dtype == torch.bfloat16
    assert narrow == (rows >= BF16_CACHE_ROWS)  # many rows have a bf16 cache too
    assert reading.cache.turned_keys == (narrow and "amx_bf16" not in processor)
    kept = [row for row in range(rows) if row != 1]
    reading.cache.keep(kept)
    reading.texts = [reading.texts[row] for row in kept]
    reading.logits = reading.logits[kept]
    for _ in range(8):
        reading.step()
    assert reading.logits.dtype == torch.float32
    exact = torch.stack([uncached(model, text) for text in reading.texts])
    error = (reading.logits - exact).square().mean().sqrt() / exact.std()
    assert 0 < error < 0.03
    assert reading.cache.turned_keys == (reading.cache.keys[0].stride(2) == 1)


def test_the_engine_leaves_the_model_as_it_was():
    for name in CONFIGS:
        model = randomized(CONFIGS[name])
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        reading = Reading(Engine(model, "fp32"), some_texts([5]))
        reading.step()
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[key]), key


def test_a_model_that_has_dropout_is_read_without_it():
    model = randomized(CONFIGS["gpt2"])
    for block in model.blocks:
        block.dropout = 0.5
    Reading(Engine(model.train(), "fp32"), some_texts([5])).agrees(model.eval())


def test_the_cache_masks_what_a_row_does_not_hold():
    cache = Cache(
        depth=1,
        rows=3,
        kv_heads=1,
        columns=8,
        head_width=2,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    cache.used = 6
    cache.place([0], 4)
    cache.place([1], 6)
    cache.place([2], 2)
    assert cache.starts == [2, 0, 4]
    assert cache.positions().tolist() == [[4], [6], [2]]
    empty = cache.mask()[:, 0, 0] == float("-inf")
    assert empty.sum(-1).tolist() == [2, 0, 4]
    assert (cache.mask()[~empty[:, None, None]] == 0).all()
    cache.place([0, 2], 6)
    assert cache.mask() is None  # nothing to hide: no work
