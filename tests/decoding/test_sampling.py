"""Filters against Transformers' logits processors; draws against the distribution."""

import numpy as np
import pytest
import torch

from xunlian.decoding.sampling import (
    TRIED_FIRST,
    choose,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    streams,
)
from xunlian.recipe.settings import Decoding

processors = pytest.importorskip("transformers").generation.logits_process

ROWS = 6
VOCABULARIES = [50, 4 * TRIED_FIRST]


def some_logits(vocab, spread=3.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(ROWS, vocab, generator=generator)


def some_history(vocab):
    """Token ids (ROWS, 9), some of them twice, and which tokens occur (ROWS, vocab)."""
    generator = torch.Generator().manual_seed(2)
    tokens_BL = torch.randint(vocab, (ROWS, 9), generator=generator)
    tokens_BL[:, 3] = tokens_BL[:, 7]
    return tokens_BL, torch.zeros(ROWS, vocab, dtype=torch.bool).scatter_(1, tokens_BL, True)


@pytest.mark.parametrize("vocab", VOCABULARIES)
@pytest.mark.parametrize("k", [1, 2, 17, 49, 50, 5000])
def test_top_k_is_that_of_transformers(k, vocab):
    logits = some_logits(vocab)
    expected = processors.TopKLogitsWarper(k)(None, logits)
    assert torch.equal(keep_top_k(logits, k), expected)
    assert (expected.isfinite().sum(-1) == min(k, vocab)).all()


# The flat ones need more tokens than are tried first, the steep ones a few.
@pytest.mark.parametrize("vocab", VOCABULARIES)
@pytest.mark.parametrize("spread", [0.3, 3.0, 20.0])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999])
def test_top_p_is_that_of_transformers(p, spread, vocab):
    logits = some_logits(vocab, spread)
    expected = processors.TopPLogitsWarper(p)(None, logits)
    assert torch.equal(keep_top_p(logits, p), expected)
    assert expected.isfinite().sum(-1).min() >= 1


def test_top_p_looks_beyond_the_tokens_tried_first_when_it_must():
    assert (
        keep_top_p(some_logits(4 * TRIED_FIRST, 0.3), 0.9).isfinite().sum(-1) > TRIED_FIRST
    ).all()


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 1.0])
def test_min_p_is_that_of_transformers(p):
    logits = some_logits(200)
    expected = processors.MinPLogitsWarper(p)(None, logits)
    assert torch.equal(keep_min_p(logits, p), expected)
    assert 0 < expected.isfinite().sum() < logits.numel()


@pytest.mark.parametrize("penalty", [0.7, 1.3, 5.0])
def test_repetition_penalty_is_that_of_transformers(penalty):
    tokens_BL, seen_BV = some_history(50)
    logits = some_logits(50)
    expected = processors.RepetitionPenaltyLogitsProcessor(penalty)(tokens_BL, logits.clone())
    assert torch.equal(penalize_repetition(logits, seen_BV, penalty), expected)
    assert (expected != logits).sum() == seen_BV.sum()


def expected_choice(logits_BV, tokens_BL, uniform_B, decoding):
    """Transformers' processors in its order, then the cumulative distribution in float64."""
    steps = [processors.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty)]
    steps.append(processors.TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_k:
        steps.append(processors.TopKLogitsWarper(decoding.top_k))
    steps.append(processors.TopPLogitsWarper(decoding.top_p))
    steps.append(processors.MinPLogitsWarper(decoding.min_p))
    logits_BV = logits_BV.clone()
    for step in steps:
        logits_BV = step(tokens_BL, logits_BV)
    cumulative_BV = logits_BV.double().softmax(-1).numpy().cumsum(-1)
    points = (uniform_B.double().numpy(), cumulative_BV)
    return [int(np.argmax(row > point)) for point, row in zip(*points, strict=True)]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "top_p": 1.0},
        {"temperature": 0.8},
        {"temperature": 2.0, "top_k": 5, "top_p": 1.0},
        {"temperature": 1.5, "top_k": 20, "top_p": 0.7, "min_p": 0.1, "repetition_penalty": 1.4},
        {"temperature": 0.5, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 0.8},
    ],
    ids=str,
)
def test_all_settings_together_choose_as_transformers_would(settings):
    decoding = Decoding(**settings)
    tokens_BL, seen_BV = some_history(50)
    random = np.random.default_rng(3)
    chosen = set()
    for seed in range(40):
        logits = some_logits(50, 2.0, seed)
        uniform_B = torch.from_numpy(random.random(ROWS, dtype=np.float32))
        expected = expected_choice(logits, tokens_BL, uniform_B, decoding)
        assert choose(logits, seen_BV, uniform_B, decoding).tolist() == expected
        chosen |= set(expected)
    assert len(chosen) > 20


def test_temperature_zero_takes_the_most_probable_token():
    logits = some_logits(50)
    best = logits.argmax(-1)
    assert torch.equal(choose(logits.clone(), None, None, Decoding(temperature=0)), best)
    _, seen_BV = some_history(50)
    decoding = Decoding(temperature=0, repetition_penalty=1e6)
    seen_BV.scatter_(1, best.unsqueeze(1), True)
    second = logits.masked_fill(seen_BV, float("-inf")).argmax(-1)
    assert torch.equal(choose(logits.clone(), seen_BV, None, decoding), second)


@pytest.mark.parametrize("temperature", [1e-3, 1e-7, 1e-40, 1e-300])
def test_a_temperature_near_zero_takes_the_most_probable_token_too(temperature):
    logits = some_logits(50, 10.0)
    decoding = Decoding(temperature=temperature)
    uniform_B = torch.linspace(0, 0.999, ROWS)
    chosen = choose(logits.clone(), None, uniform_B, decoding)
    assert torch.equal(chosen, logits.argmax(-1))


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([0.3, 0.0, 0.2, 0.01, 0.09, 0.25, 0.15, 0.0])
    uniform_B = torch.from_numpy(np.random.default_rng(5).random(20_000, dtype=np.float32))
    drawn = draw(probabilities.log().expand(20_000, -1), uniform_B)
    counts = torch.bincount(drawn, minlength=8)
    assert counts[probabilities == 0].sum() == 0
    possible = probabilities > 0
    expected = 20_000 * probabilities[possible]
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum().item()
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in a thousand


def test_draws_of_a_stream_follow_the_distribution_over_prompts_too():
    """The first number of many prompts' streams is uniform: prompts do not share a number."""
    first = [
        stream.random() for stream in streams(1, [[a, b] for a in range(40) for b in range(40)])
    ]
    counts = np.histogram(first, bins=16, range=(0, 1))[0]
    assert ((counts - 100) ** 2 / 100).sum() < 37.7  # 15 degrees of freedom: once in a thousand
    assert len(set(first)) == 1600


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(number):
    logits = torch.full((1, 50), float("-inf"))
    logits[0, [3, 30]] = 0.0
    drawn = draw(logits, torch.tensor([number])).item()
    assert drawn == (3 if number < 0.5 else 30)


def numbers(seed, prompts):
    return [stream.random(4).tolist() for stream in streams(seed, prompts)]


def test_a_seed_and_a_prompt_give_the_same_numbers_whatever_comes_between():
    first, other, again = numbers(7, [[1, 2], [3], [1, 2]])
    assert numbers(7, [[1, 2]]) == [first]
    assert numbers(7, [[4], [3], [1, 2], [5, 6], [1, 2]])[1:3] == [other, first]
    assert numbers(7, [[4], [3], [1, 2], [5, 6], [1, 2]])[4] == again
    assert first != again  # the same prompt twice is continued in two ways
    assert numbers(8, [[1, 2]]) != [first]
    assert numbers(None, [[1, 2]]) != numbers(None, [[1, 2]])
