"""A training that starts from the weights of an earlier one, or refuses to."""

import pytest
import torch
from brief import train, training_lines, transformers_logits
from conftest import SAMPLES, TINY
from torch.nn import functional as F

import xunlian
from xunlian.cli import main
from xunlian.data.packed import PackedRows
from xunlian.errors import InputError
from xunlian.runs.folder import open_run
from xunlian.shards.corpus import open_corpus

CONTEXT, BATCH_TOKENS = 32, 512  # as in TINY


def first_loss(run) -> float:
    """Computed before the first update, hence that of the weights the run started with."""
    return training_lines(run)[0]["loss"]


def test_init_from_goes_on_from_the_weights_of_an_earlier_run(tiny_run, tiny_corpus, tmp_path):
    run = train(
        tiny_corpus,
        tmp_path / "run",
        f"model.init_from={tiny_run}",
        "training.budget=1 steps",
        "model.dropout=0",
    )
    rows = PackedRows(open_corpus(tiny_corpus).stream("train"), CONTEXT, run.recipe.training.seed)
    inputs, targets = map(torch.from_numpy, rows.read(0, BATCH_TOKENS // CONTEXT))
    expected = F.cross_entropy(
        transformers_logits(open_run(tiny_run))(inputs).flatten(0, 1), targets.flatten()
    )
    assert first_loss(run) == pytest.approx(expected.item(), abs=1e-4)
    assert first_loss(run) < 3.5  # a new network would pay ln V, more than 5


def test_init_from_takes_another_corpus_prepared_with_the_tokenizer_of_the_run(tiny_run, tmp_path):
    (tmp_path / "other.txt").write_text(
        (SAMPLES / "shakespeare.txt").read_text("utf-8")[200_000:230_000], "utf-8"
    )
    corpus = xunlian.prepare(
        tmp_path / "other.txt",
        out=tmp_path / "corpus",
        tokenizer=tiny_run / "model" / "tokenizer.json",
        val=0.1,
    )
    settings = ["training.budget=20 steps", "training.validate_every=20", "model.dropout=0"]
    old = train(corpus.path, tmp_path / "old", f"model.init_from={tiny_run}", *settings)
    new = train(corpus.path, tmp_path / "new", *settings)
    assert first_loss(old) < 3.5 < 5 < first_loss(new)
    assert old.facts()["best_val_loss"] < new.facts()["best_val_loss"]


def test_init_from_may_change_the_context_of_rotary_positions(tiny_run, tiny_corpus, tmp_path):
    run = train(
        tiny_corpus,
        tmp_path / "run",
        f"model.init_from={tiny_run}",
        "model.context=16",
        "training.budget=1 steps",
        "model.dropout=0",
    )
    assert first_loss(run) < 3.5


@pytest.fixture(scope="module")
def gpt2_run(tiny_corpus, tmp_path_factory):
    return train(
        tiny_corpus,
        tmp_path_factory.mktemp("gpt2") / "run",
        "training.budget=2 steps",
        "model.architecture=gpt2",
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model.width=96"], ["width = 64", "96", "Leave model.width out"]),
        (["model.depth=3"], ["depth = 2", "3"]),
        (["model.heads=2", "model.head_width=32"], ["heads = 1", "2"]),
        (["model.architecture=gpt2"], ["architecture = qwen3", "gpt2"]),
    ],
)
def test_init_from_refuses_another_shape(tiny_run, tiny_corpus, tmp_path, settings, words):
    with pytest.raises(InputError) as caught:
        train(tiny_corpus, tmp_path / "run", f"model.init_from={tiny_run}", *settings)
    assert all(word in str(caught.value) for word in [str(tiny_run), *words])
    assert not (tmp_path / "run").exists()


def test_init_from_refuses_more_positions_than_were_learned(gpt2_run, tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"at most 32 tokens.*64.*model\.context=32"):
        train(
            tiny_corpus,
            tmp_path / "run",
            f"model.init_from={gpt2_run.path}",
            "model.architecture=gpt2",
            "model.context=64",
        )
    assert not (tmp_path / "run").exists()


def test_init_from_refuses_another_tokenizer_with_status_2(tiny_run, tiny_text, tmp_path, capsys):
    xunlian.prepare(tiny_text, out=tmp_path / "bytes", tokenizer="byte", val=0.1)
    arguments = [f"corpus.path={tmp_path / 'bytes'}", f"model.init_from={tiny_run}", *TINY]
    assert main(["train", "small", *arguments, "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "another tokenizer" in last
    assert f"--tokenizer {tiny_run / 'model'}" in last
    assert not (tmp_path / "run").exists()


def test_init_from_nowhere_is_refused(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        train(tiny_corpus, tmp_path / "run", f"model.init_from={tmp_path / 'nowhere'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["model.family=gru", "model.architecture=speedrun"])
def test_init_from_takes_runs_that_only_xunlian_opens(kind, tiny_corpus, tmp_path):
    first = train(tiny_corpus, tmp_path / "first", kind, "training.budget=20 steps")
    best = first.facts()["best_val_loss"]
    settings = [f"model.init_from={first.path}", "training.budget=1 steps", "model.dropout=0"]
    again = train(tiny_corpus, tmp_path / "again", *settings)
    assert first_loss(again) == pytest.approx(best, abs=0.3)
    assert again.recipe.model.width == 64
