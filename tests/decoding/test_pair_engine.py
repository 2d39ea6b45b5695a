"""Logits out of the cache against the whole model, while beams move and sentences leave."""

import pytest
import torch
from made_pairs import CONFIGS, START, randomized, some_sources

from xunlian.decoding.beam_cache import BeamCache
from xunlian.decoding.pair_engine import PairEngine

SOURCES = some_sources([4, 9, 1, 9])


def uncached(model, source, target):
    """Logits after `target`, by the model as it trains."""
    source, target = torch.tensor([source]), torch.tensor([target])
    with torch.no_grad():
        hidden = model(source, torch.zeros_like(source), target, torch.zeros_like(target))
        return hidden[0, -1] @ model.head_weight.T


@pytest.mark.parametrize("name", CONFIGS)
def test_cached_logits_are_uncached_logits_while_beams_change_places(name):
    model = randomized(CONFIGS[name])
    engine = PairEngine(model, "fp32")
    cache = BeamCache(engine.encode(SOURCES))
    generator = torch.Generator().manual_seed(1)
    sources = list(SOURCES)
    histories = [[[START]] for _ in sources]
    tokens = torch.full((len(sources), 1), START)
    for step in range(24):
        hidden, _ = engine.step(cache, tokens)
        logits = engine.logits(hidden).view(*tokens.shape, -1)
        for i, source in enumerate(sources):
            for j, history in enumerate(histories[i]):
                torch.testing.assert_close(
                    logits[i, j], uncached(model, source, history), atol=2e-4, rtol=0
                )
        if step in (5, 11):
            kept = [i for i in range(len(sources)) if i != 1]
            cache.keep(torch.tensor(kept))
            sources, histories = [sources[i] for i in kept], [histories[i] for i in kept]
        beams = 3 if step < 15 else 2
        parents = torch.randint(len(histories[0]), (len(sources), beams), generator=generator)
        tokens = torch.randint(67, parents.shape, generator=generator)
        cache.follow(parents)
        histories = [
            [[*histories[i][p], t] for p, t in zip(row, new, strict=True)]
            for i, (row, new) in enumerate(zip(parents.tolist(), tokens.tolist(), strict=True))
        ]


@pytest.mark.parametrize("name", CONFIGS)
def test_bf16_is_near_fp32(name):
    model = randomized(CONFIGS[name])
    logits = []
    for precision in ("fp32", "bf16"):
        engine = PairEngine(model, precision)
        cache = BeamCache(engine.encode(SOURCES))
        hidden, _ = engine.step(cache, torch.full((len(SOURCES), 1), START))
        logits.append(engine.logits(hidden))
    assert logits[1].dtype == torch.float32
    spread = logits[0].std()
    assert (logits[0] - logits[1]).abs().mean() < 0.1 * spread


def test_attention_to_a_source_is_watched_and_leaves_padding_out():
    engine = PairEngine(randomized(CONFIGS["pegasus"]), "fp32")
    cache = BeamCache(engine.encode(SOURCES))
    _, weights = engine.step(cache, torch.full((len(SOURCES), 1), START), watch=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 1))
    for row, source in zip(weights, SOURCES, strict=True):
        assert (row[:, len(source) :] == 0).all() and (row[:, : len(source)] > 0).all()
