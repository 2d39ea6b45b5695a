"""Recurrent engines: they give what the network gives, one token at a time, alone or together."""

import pytest
import torch
from made_pairs import some_sources
from made_recurrent import END, FAMILIES, START, VOCABULARY, randomized

from xunlian.decoding.beam import beam_search
from xunlian.decoding.generate import generate_tokens
from xunlian.decoding.recurrent_engine import RecurrentEngine
from xunlian.decoding.recurrent_pair_engine import RecurrentPairEngine
from xunlian.recipe.settings import Decoding

LENGTHS = [3, 9, 1, 6]


def greedy(model, prompt, count):
    """The most probable token, again and again, each time from the text's beginning."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.logits(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("family", FAMILIES)
def test_many_prompts_are_continued_as_one_by_one_far_beyond_the_context(family):
    model = randomized(family, tied=False)
    prompts = some_sources([3, 20, 1, 7, 7], VOCABULARY)
    count = 30  # the context is 16
    decoding = Decoding(temperature=0, max_tokens=count)
    found = [[] for _ in prompts]
    for number, token in generate_tokens(RecurrentEngine(model, "fp32"), prompts, decoding, set()):
        found[number].append(token)
    assert found == [greedy(model, prompt, count) for prompt in prompts]


def test_rows_that_ended_leave_the_others_as_they_are():
    model = randomized("lstm", tied=False)
    prompts = some_sources([3, 4, 5, 6], VOCABULARY)
    found, ended = [[] for _ in prompts], set()
    decoding = Decoding(temperature=0, max_tokens=12)
    for number, token in generate_tokens(RecurrentEngine(model, "fp32"), prompts, decoding, ended):
        found[number].append(token)
        if number in (0, 2, 3) and len(found[number]) == 3:
            ended.add(number)
    assert found[1] == greedy(model, prompts[1], 12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_of_the_engine_give_the_networks_logits(family, precision):
    model, sources = randomized(family, pairs=True), some_sources(LENGTHS, VOCABULARY)
    targets = torch.randint(2, VOCABULARY, (4, 5), generator=torch.Generator().manual_seed(1))
    targets[:, 0] = START
    engine = RecurrentPairEngine(model, precision)
    state = engine.begin(sources)
    steps = [engine.logits(engine.step(state, targets[:, t : t + 1])[0]) for t in range(5)]
    for row, source in enumerate(sources):
        hidden = model(
            torch.tensor([source]), torch.zeros(1, len(source)).long(), targets[row : row + 1]
        )
        wanted = hidden[0] @ model.head_weight.t()
        found = torch.stack([step[row] for step in steps])
        if precision == "fp32":
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        else:
            assert (found - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beam", [1, 4])
def test_a_hypothesis_scores_what_the_network_says_and_needs_no_neighbours(family, beam):
    model, sources = randomized(family, pairs=True), some_sources(LENGTHS, VOCABULARY)
    engine = RecurrentPairEngine(model, "fp32")
    options = {"start_id": START, "end_ids": {END}, "beam": beam, "nbest": beam}
    found = beam_search(engine, sources, [8, 5, 8, 12], **options)
    for source, limit, hypotheses in zip(sources, [8, 5, 8, 12], found, strict=True):
        alone = beam_search(engine, [source], [limit], **options)[0]
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]
        for hypothesis in hypotheses:
            tokens = (
                [*hypothesis.tokens, END] if len(hypothesis.tokens) < limit else hypothesis.tokens
            )
            inputs = torch.tensor([[START, *tokens[:-1]]])
            hidden = model(torch.tensor([source]), torch.zeros(1, len(source)).long(), inputs)
            log_p = (hidden[0] @ model.head_weight.t()).log_softmax(-1)
            wanted = log_p[range(len(tokens)), tokens].sum() / len(tokens)
            assert hypothesis.score == pytest.approx(wanted.item(), rel=1e-3, abs=1e-4)
        if beam == 1:
            wanted = []
            while len(wanted) < limit and END not in wanted:
                inputs = torch.tensor([[START, *wanted]])
                hidden = model(torch.tensor([source]), torch.zeros(1, len(source)).long(), inputs)
                wanted.append(int((hidden[0, -1] @ model.head_weight.t()).argmax()))
            assert hypotheses[0].tokens == [token for token in wanted if token != END]
