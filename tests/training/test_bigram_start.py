"""What a network learns from counts, before its first step."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from brief import train, validation_lines
from torch.nn import functional as F

from xunlian.errors import InputError
from xunlian.models.decoder import Decoder, DecoderConfig, initialize
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Model, Recipe, Training
from xunlian.training import bigram_start
from xunlian.training.bigram_start import count_bigrams, start_from_bigrams
from xunlian.training.optimizers import OptimizerSettings

VOCAB = 50
SETTINGS = OptimizerSettings(
    "muon", 0.02, 0.02, 0.004, 0.01, 0.01, 0.95, (0.9, 0.95), torch.float32
)


class Tokens:
    """A stream of tokens in memory."""

    def __init__(self, values: list[int]):
        self.values = np.array(values)

    def __len__(self) -> int:
        return len(self.values)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]


def markov(length: int) -> list[int]:
    """Tokens of which each mostly follows from the one before; 7 never comes."""
    rng, values = np.random.default_rng(1), [3]
    for _ in range(length - 1):
        after = (values[-1] * 3 + 1) % VOCAB if rng.random() < 0.7 else int(rng.integers(VOCAB))
        values.append(8 if after == 7 else after)
    return values


def decoder(tied: bool) -> Decoder:
    model = Decoder(DecoderConfig("qwen3", VOCAB, 2, 32, 2, 2, 16, 64, 16, tied))
    initialize(model, torch.Generator().manual_seed(1))
    return model


def test_neighbours_are_counted_in_pieces_spread_over_the_text(monkeypatch):
    values = markov(1000)
    counted = Counter(pairwise(values))
    found = count_bigrams(Tokens(values), VOCAB)
    tokens = found.tokens.tolist()
    assert tokens == sorted(set(values[:-1]))
    totals = Counter(values[:-1])
    for i, token in enumerate(tokens):
        here = slice(found.bounds[i], found.bounds[i + 1])
        followers = found.followers[here].tolist()
        wanted = [counted[token, one] / totals[token] for one in followers]
        assert found.likely[here].tolist() == pytest.approx(wanted)
        assert sum(wanted) == pytest.approx(1)
        assert found.shares[i].item() == pytest.approx(totals[token] / 999)

    monkeypatch.setattr(bigram_start, "PIECE", 100)
    monkeypatch.setattr(bigram_start, "MOST_COUNTED", 300)
    monkeypatch.setattr(bigram_start, "MOST_CONTEXTS", 5)
    pieces = [values[first : first + 100] for first in (0, 333, 666)]
    totals = Counter(token for piece in pieces for token in piece[:-1])
    found = count_bigrams(Tokens(values), VOCAB)
    assert min(totals[token] for token in found.tokens.tolist()) >= totals.most_common(6)[5][1]
    assert len(found.tokens) == 5 and found.shares.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_those_of_the_plain_cross_entropy(tied, monkeypatch):
    monkeypatch.setattr(bigram_start, "chunk_positions", lambda weight: 7)
    bigrams = count_bigrams(Tokens(markov(2000)), VOCAB)
    model = decoder(tied)
    with torch.no_grad():  # what starts at zero would hide mistakes
        model.blocks[-1].mlp.output.weight.normal_(0, 0.1)
        model.head_weight.normal_(0, 0.1)
    network = bigram_start._OneToken(model)
    loss = bigram_start._backward(network, bigrams, model.head_weight, torch.float32)
    ours = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    wanted = torch.zeros(49, VOCAB)
    for row, (start, end) in enumerate(pairwise(bigrams.bounds)):
        wanted[row, bigrams.followers[start:end]] = bigrams.likely[start:end]
    logs = F.log_softmax(network(bigrams.tokens, torch.float32) @ model.head_weight.t(), -1)
    plain = -(bigrams.shares @ (wanted * logs).sum(-1))
    plain.backward()
    assert loss == pytest.approx(plain.item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_afterwards_the_whole_network_knows_the_followers_in_any_context(tied):
    values = markov(20_000)
    model = decoder(tied)
    loss, _ = start_from_bigrams(
        model, count_bigrams(Tokens(values), VOCAB), SETTINGS, torch.float32
    )
    tokens = torch.tensor(markov(1601))
    with torch.no_grad():
        logits = model.logits(tokens[:-1].view(100, 16)).flatten(0, 1)
    assert F.cross_entropy(logits, tokens[1:]).item() == pytest.approx(loss, abs=0.15)
    assert loss < 2.8  # log(50) = 3.9; the text itself has 2.1


def test_the_scale_of_a_tied_stream_changes_no_prediction():
    model, tokens = decoder(tied=True), torch.tensor([[1, 4, 9]])
    with torch.no_grad():
        model.blocks[-1].mlp.output.weight.normal_(0, 0.1)
        before = model.logits(tokens)
        bigram_start._scale_stream(model, 5.0)
        torch.testing.assert_close(model.logits(tokens), before, rtol=1e-3, atol=1e-4)


def test_it_is_refused_where_it_cannot_be():
    recipe = Recipe(model=Model(architecture="gpt2"), training=Training(bigram_start=True))
    with pytest.raises(InputError, match=r"training\.bigram_start.*Leave it out"):
        resolve(recipe, vocab_size=512, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False)


def test_a_training_that_starts_so_is_ahead(tiny_corpus: Path, tmp_path: Path):
    losses = {}
    for start in ("true", "false"):
        run = train(
            tiny_corpus,
            tmp_path / start,
            "training.budget=4 steps",
            f"training.bigram_start={start}",
            "training.validate_every=4",
        )
        assert run.recipe.training.bigram_start is (start == "true")
        losses[start] = validation_lines(run)[-1]["val_loss"]
    assert losses["true"] < losses["false"] - 0.3
