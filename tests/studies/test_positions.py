"""Loss by position is what one gets from each window, and each pair, by itself."""

import numpy as np
import pytest
import torch
from made_decoder import CONFIGS
from made_decoder import randomized as made_decoder
from made_pairs import CONFIGS as PAIR_CONFIGS
from made_pairs import randomized as made_pairs
from made_recurrent import FAMILIES, VOCABULARY
from made_recurrent import randomized as made_recurrent

from xunlian.evaluation.perplexity import validation_loss
from xunlian.studies.positions import pair_positions, text_positions

CONTEXT = 12


class Stream:
    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def read(self, start, stop):
        return self.tokens[start:stop]


class Column(Stream):
    def __init__(self, documents):
        super().__init__(np.concatenate(documents))
        self.document_count = len(documents)
        self.ends = np.cumsum([0, *map(len, documents)])

    def bounds(self, first, last):
        return self.ends[first : last + 1]


def by_powers(losses_by_place):
    """(first, last, mean) over 1, 2, 3-4, 5-8, ..., counted out place by place."""
    found, first, last = [], 1, 1
    while first <= max(losses_by_place):
        inside = [
            loss
            for place, losses in losses_by_place.items()
            if first <= place <= last
            for loss in losses
        ]
        if inside:
            found.append((first, np.mean(inside), len(inside)))
        first, last = last + 1, last * 2
    return found


def add(table, place, loss):
    table.setdefault(place, []).append(float(loss))


def log_probabilities(model, hidden_LD):
    return (hidden_LD @ model.head_weight.T).log_softmax(-1)


@pytest.mark.parametrize("kind", ["qwen3", *FAMILIES])
def test_loss_by_position_is_that_of_each_window_by_itself(kind):
    model = made_recurrent(kind) if kind in FAMILIES else made_decoder(CONFIGS[kind])
    tokens = np.random.default_rng(3).integers(0, VOCABULARY, 100)
    expected = {}
    with torch.no_grad():
        for begin in range(0, len(tokens) - 1, CONTEXT):
            window = torch.from_numpy(tokens[begin : begin + CONTEXT + 1])
            logs = log_probabilities(model, model(window[None, :-1])[0])
            for i, target in enumerate(window[1:]):
                add(expected, i + 1, -logs[i, target])
    found = text_positions(model, Stream(tokens), CONTEXT, torch.float32)
    assert [bucket.first for bucket in found] == [1, 2, 3, 5, 9]
    assert [bucket.last for bucket in found] == [1, 2, 4, 8, CONTEXT]
    for bucket, (first, loss, count) in zip(found, by_powers(expected), strict=True):
        assert (bucket.first, bucket.tokens) == (first, count)
        assert bucket.loss == pytest.approx(loss, abs=1e-4)


def test_all_positions_together_are_the_validation_loss():
    model = made_decoder(CONFIGS["qwen3"])
    stream = Stream(np.random.default_rng(4).integers(0, 61, 5000))
    whole = validation_loss(model, stream, dtype=torch.float32, batch_tokens=512)
    found = text_positions(model, stream, model.config.context, torch.float32)
    assert sum(b.tokens for b in found) == len(stream) - 1
    assert sum(b.loss * b.tokens for b in found) / 4999 == pytest.approx(whole, abs=1e-5)


def test_of_a_long_text_windows_from_all_over_are_enough():
    model = made_decoder(CONFIGS["qwen3"])
    stream = Stream(np.random.default_rng(4).integers(0, 61, 5000))
    found = text_positions(model, stream, 24, torch.float32, most_tokens=480)
    assert sum(b.tokens for b in found) == pytest.approx(480, abs=24)


@pytest.mark.parametrize("kind", ["pegasus", "marian", *FAMILIES])
def test_losses_of_pairs_are_those_of_each_pair_by_itself(kind):
    recurrent = kind in FAMILIES
    model = made_recurrent(kind, pairs=True) if recurrent else made_pairs(PAIR_CONFIGS[kind])
    chance = np.random.default_rng(5)
    sources, targets = (
        [np.append(chance.integers(2, VOCABULARY, chance.integers(1, 14)), 1) for _ in range(40)]
        for _ in range(2)
    )
    by_place, by_length = {}, {}
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            read, said = torch.from_numpy(source)[None], torch.from_numpy(target)
            inputs = torch.cat([torch.tensor([0]), said[:-1]])[None]
            marks = [torch.zeros_like(read)] + ([] if recurrent else [torch.zeros_like(inputs)])
            hidden = model(read, marks[0], inputs, *marks[1:])
            logs = log_probabilities(model, hidden[0])
            for i, token in enumerate(said):
                add(by_place, i + 1, -logs[i, token])
                add(by_length, len(source), -logs[i, token])
    found = pair_positions(model, Column(sources), Column(targets), 16, 0, torch.float32)
    for buckets, expected in zip(found, (by_place, by_length), strict=True):
        assert [(b.first, b.tokens) for b in buckets] == [
            (first, count) for first, _, count in by_powers(expected)
        ]
        assert [b.loss for b in buckets] == pytest.approx(
            [loss for _, loss, _ in by_powers(expected)], abs=1e-4
        )
