"""Beam search against `transformers.generate` on the same weights, and against itself."""

from dataclasses import replace

import pytest
import torch
from made_pairs import CONFIGS, END, START, open_in_transformers, randomized, some_sources

from xunlian.decoding.beam import _top, beam_search
from xunlian.decoding.pair_engine import PairEngine

LIMIT = 20
SOURCES = some_sources([3, 9, 5, 1, 14, 20, 7, 7, 30, 2])
PENALTIES = (0.0, 0.6, 2.0)


@pytest.fixture(scope="module", params=[(n, e) for n in CONFIGS for e in (2.0, 4.0)])
def pair(request, tmp_path_factory):
    """Our engine and their model: targets that end early, late, or not before the limit."""
    name, ending = request.param
    model = randomized(CONFIGS[name], ending=ending)
    return PairEngine(model, "fp32"), open_in_transformers(model, tmp_path_factory.mktemp("peer"))


def search(engine, sources=SOURCES, limits=None, **options):
    limits = limits or [LIMIT] * len(sources)
    return beam_search(engine, sources, limits, start_id=START, end_ids=[END], **options)


def flat(found):
    return [(h.tokens, h.score) for several in found for h in several]


def theirs(peer, sources=SOURCES, beam=1, nbest=1, prefix=(), **options):
    """(tokens, score) of each, as they give them."""
    longest = max(map(len, sources))
    ids = torch.tensor([[*s, *[START] * (longest - len(s))] for s in sources])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sources])
    out = peer.generate(
        ids,
        attention_mask=mask,
        decoder_input_ids=torch.tensor([[START, *prefix]] * len(sources)),
        num_beams=beam,
        num_return_sequences=nbest,
        max_new_tokens=LIMIT,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    rows = []
    for row in out.sequences[:, 1 + len(prefix) :].tolist():
        rows.append(row[: row.index(END)] if END in row else row)
    scores = out.sequences_scores.tolist() if beam > 1 else [None] * len(rows)
    return list(zip(rows, scores, strict=True))


def same(ours, expected, tolerance=1e-4):
    for (tokens, score), (their_tokens, their_score) in zip(ours, expected, strict=True):
        if len(their_tokens) > len(tokens):  # padded behind the limit
            assert set(their_tokens[len(tokens) :]) == {START}
            their_tokens = their_tokens[: len(tokens)]
        assert tokens == their_tokens
        if their_score is not None:
            assert score == pytest.approx(their_score, abs=tolerance)


@pytest.mark.parametrize("beam", [2, 5])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_targets_and_scores_are_those_of_transformers(pair, beam, penalty):
    engine, peer = pair
    ours = flat(search(engine, beam=beam, length_penalty=penalty))
    same(ours, theirs(peer, beam=beam, length_penalty=penalty))


def test_the_n_best_are_those_of_transformers(pair):
    engine, peer = pair
    ours = search(engine, beam=5, nbest=5)
    same(flat(ours), theirs(peer, beam=5, nbest=5))
    for several in ours:
        assert [h.score for h in several] == sorted((h.score for h in several), reverse=True)


def test_beam_1_is_greedy(pair):
    engine, peer = pair
    same(flat(search(engine, beam=1)), theirs(peer))


def test_a_negative_penalty_favours_short_targets_as_theirs_does(pair):
    engine, peer = pair
    ours = flat(search(engine, beam=4, length_penalty=-0.5))
    same(ours, theirs(peer, beam=4, length_penalty=-0.5), tolerance=2e-3)


def test_a_penalty_far_below_0_keeps_long_targets():
    """Their scores are below the -1e9 that Transformers takes for the lowest of all."""
    engine = PairEngine(randomized(replace(CONFIGS["pegasus"], context=64)), "fp32")
    # No token ends them: all are as long as they may be, so the penalty changes no order.
    options = {"start_id": START, "end_ids": [999], "beam": 2, "nbest": 2}
    plain, scaled = (
        flat(beam_search(engine, SOURCES[:3], [60] * 3, length_penalty=penalty, **options))
        for penalty in (0.0, -5.0)
    )
    assert [len(tokens) for tokens, _ in scaled] == [60] * 6
    assert [tokens for tokens, _ in scaled] == [tokens for tokens, _ in plain]
    expected = [score * 60**5 for _, score in plain]
    assert [score for _, score in scaled] == pytest.approx(expected, rel=1e-5)
    assert max(expected) < -1e9


def test_a_prefix_is_continued_as_theirs_is(pair):
    engine, peer = pair
    prefix = [5, 17, 3]
    same(
        flat(search(engine, beam=3, nbest=2, prefix=prefix)),
        theirs(peer, beam=3, nbest=2, prefix=prefix),
    )


def test_the_models_together_end_early_late_and_not_at_all(tmp_path):
    lengths = set()
    for ending in (1.0, 2.0, 4.0):
        engine = PairEngine(randomized(CONFIGS["pegasus"], ending=ending), "fp32")
        lengths |= {len(tokens) for tokens, _ in flat(search(engine, beam=1))}
    assert min(lengths) <= 2 and max(lengths) == LIMIT and len(lengths) >= 6


@pytest.mark.parametrize("beam", [1, 5])
def test_a_result_does_not_depend_on_its_batch(pair, beam):
    engine, _ = pair
    limits = [LIMIT - i for i in range(len(SOURCES))]
    together = search(engine, limits=limits, beam=beam, nbest=beam)
    order = [7, 2, 9, 0]
    some = search(
        engine, [SOURCES[i] for i in order], [limits[i] for i in order], beam=beam, nbest=beam
    )
    for place, i in enumerate(order):
        same(flat([some[place]]), flat([together[i]]), tolerance=1e-5)
        alone = search(engine, [SOURCES[i]], [limits[i]], beam=beam, nbest=beam)
        same(flat(alone), flat([together[i]]), tolerance=1e-5)


def test_scores_are_the_log_probabilities_of_the_uncached_model(pair):
    engine, peer = pair
    for source, several in zip(SOURCES, search(engine, beam=3, length_penalty=0.7), strict=True):
        tokens = several[0].tokens
        ended = len(tokens) < LIMIT
        target = [*tokens, END] if ended else tokens
        with torch.no_grad():
            logits = peer(
                input_ids=torch.tensor([source]),
                decoder_input_ids=torch.tensor([[START, *target[:-1]]]),
            ).logits[0]
        total = logits.log_softmax(-1)[range(len(target)), target].sum().item()
        assert several[0].score == pytest.approx(total / len(target) ** 0.7, abs=1e-4)


def test_a_sentence_may_end_at_its_first_step():
    model = randomized(CONFIGS["pegasus"], ending=40.0)
    with torch.no_grad():
        model.decoder_norm.weight *= 0.01  # the bias alone speaks, for the end
    engine = PairEngine(model, "fp32")
    assert [h.tokens for s in search(engine, beam=1) for h in s] == [[]] * len(SOURCES)


def test_limits_of_one_token_are_kept(pair):
    engine, _ = pair
    found = search(engine, limits=[1] * len(SOURCES), beam=4, nbest=4)
    assert all(len(h.tokens) <= 1 for several in found for h in several)
    assert all(len({tuple(h.tokens) for h in several}) == 4 for several in found)


def test_a_source_of_nothing_but_padding_tokens_is_a_source(pair):
    engine, peer = pair
    sources = [[START, START, START], [START]]
    ours = flat(search(engine, sources, beam=2))
    for source, found in zip(sources, ours, strict=True):
        out = peer.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            num_beams=2,
            max_new_tokens=LIMIT,
        )[0, 1:].tolist()
        assert found[0] == (out[: out.index(END)] if END in out else out)


def test_several_tokens_may_end_a_target(tmp_path):
    model = randomized(CONFIGS["pegasus"], ending=1.0)
    peer = open_in_transformers(model, tmp_path)
    engine, ends = PairEngine(model, "fp32"), [END, 9, 40]
    found = beam_search(
        engine, SOURCES, [LIMIT] * len(SOURCES), start_id=START, end_ids=ends, beam=3
    )
    for source, several in zip(SOURCES, found, strict=True):
        row = peer.generate(
            torch.tensor([source]), num_beams=3, max_new_tokens=LIMIT, eos_token_id=ends
        )[0, 1:].tolist()
        stop = next((i for i, token in enumerate(row) if token in ends), len(row))
        assert several[0].tokens == row[:stop]


@pytest.mark.parametrize("size", [5, 64, 200, 8000, 8031])
@pytest.mark.parametrize("k", [2, 10])
def test_the_top_of_a_vocabulary_is_found_among_its_blocks(size, k):
    logits = torch.randn(7, size, generator=torch.Generator().manual_seed(size))
    values, places = _top(logits, k)
    expected = logits.topk(min(k, size))
    torch.testing.assert_close(values, expected.values)
    torch.testing.assert_close(places, expected.indices)
