"""Which weights become the model: those that validate best, without dropout, or else the last."""

import math

import pytest
import torch
from brief import short_corpus, train, training_lines, transformers_logits, validation_lines
from safetensors.torch import load_file
from torch.nn import functional as F

import xunlian
from xunlian.evaluation import perplexity
from xunlian.evaluation.perplexity import window_losses
from xunlian.shards.corpus import open_corpus
from xunlian.training.checkpoint import load_checkpoint

CONTEXT = 32  # as in TINY


@pytest.fixture(scope="module")
def overfitting(tmp_path_factory):
    return short_corpus(tmp_path_factory.mktemp("overfitting"))


def mean_val_loss(run) -> float:
    """Transformers' mean cross-entropy of model/ over validation windows that do not overlap."""
    stream = open_corpus(run.recipe.corpus.path).stream("val")
    tokens, logits = torch.from_numpy(stream.read(0, len(stream))).long(), transformers_logits(run)
    nats = 0.0
    for start in range(0, len(tokens) - 1, CONTEXT):
        window = tokens[start : start + CONTEXT + 1]
        nats += F.cross_entropy(logits(window[None, :-1])[0], window[1:], reduction="sum").item()
    return nats / (len(tokens) - 1)


@pytest.fixture(scope="module")
def stopped(overfitting, tmp_path_factory):
    """A run that was to take 1,000 steps and stopped after two validations without gain."""
    return train(
        overfitting,
        tmp_path_factory.mktemp("stopped") / "run",
        "training.budget=1000 steps",
        "training.validate_every=15",
        "training.early_stopping=2",
        "model.dropout=0",
    )


def test_early_stopping_ends_after_so_many_validations_without_gain(stopped):
    losses = [row["val_loss"] for row in validation_lines(stopped)]
    best = losses.index(min(losses))
    assert len(losses) == best + 3  # two more, both worse, and none after them
    facts = stopped.facts()
    assert facts["step"] == 15 * len(losses) < 1000
    assert facts["finished"] and facts["best_step"] == 15 * (best + 1)
    assert facts["best_val_loss"] == min(losses) < losses[-1]


def test_early_stopping_says_so(overfitting, tmp_path, capsys):
    train(
        overfitting,
        tmp_path / "run",
        "training.budget=20 steps",
        "training.validate_every=1",
        "training.early_stopping=1",
        "training.learning_rate=0.3",
        "training.warmup=0",
    )
    assert "Stopped early: 1 validations without a better loss" in capsys.readouterr().err


def test_model_folder_holds_the_best_weights_and_not_the_last(stopped):
    best, last = stopped.facts()["best_val_loss"], validation_lines(stopped)[-1]["val_loss"]
    found = mean_val_loss(stopped)
    assert found == pytest.approx(best, abs=1e-4)
    assert abs(found - last) > 1e-3


def test_a_validation_loss_that_is_no_number_is_not_the_best(tiny_corpus, tmp_path, monkeypatch):
    calls = []

    def first_is_nan(*arguments, **options):
        nats, tokens = window_losses(*arguments, **options)
        calls.append(nats)
        return (math.nan if len(calls) == 1 else nats), tokens

    monkeypatch.setattr(perplexity, "window_losses", first_is_nan)
    run = train(
        tiny_corpus, tmp_path / "run", "training.budget=9 steps", "training.validate_every=3"
    )
    assert [row["val_loss"] is None for row in validation_lines(run)] == [True, False, False]
    assert run.facts()["best_step"] == 9
    assert run.facts()["best_val_loss"] == validation_lines(run)[-1]["val_loss"]


def test_without_validation_text_the_last_weights_are_the_model(tiny_text, tmp_path):
    corpus = xunlian.prepare(tiny_text, out=tmp_path / "corpus", tokenizer="char", val=0)
    assert corpus.tokens("val") == 0
    run = train(corpus.path, tmp_path / "run", "training.budget=10 steps")
    assert len(training_lines(run)) == 10 and not validation_lines(run)
    facts = run.facts()
    assert facts["finished"] and facts["best_val_loss"] is None
    weights, _, state = load_checkpoint(run.checkpoints)
    assert state["step"] == 10
    embedding = load_file(run.model_folder / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(embedding, weights["embedding.weight"])
    assert run.report_file.is_file()
    assert xunlian.generate(run.path, "the", max_tokens=5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_makes_training_harder_and_leaves_validation_alone(overfitting, tmp_path, dropout):
    """On one text for both: without dropout the two losses are the same, or nearly."""
    text, copy = overfitting.parent / "train.txt", tmp_path / "val.txt"
    copy.write_bytes(text.read_bytes())
    corpus = xunlian.prepare(text, out=tmp_path / "corpus", val=copy, tokenizer="char")
    run = train(
        corpus.path, tmp_path / "run", "training.budget=120 steps", f"model.dropout={dropout}"
    )
    assert run.facts()["best_val_loss"] == pytest.approx(mean_val_loss(run), abs=1e-4)
    gap = training_lines(run)[-1]["loss"] - validation_lines(run)[-1]["val_loss"]
    if dropout:
        assert gap > 0.25
    else:
        assert abs(gap) < 0.1
