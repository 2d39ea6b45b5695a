"""Training on pairs: it learns what pairs show, goes on bit by bit, and is shared by processes."""

import random

import pytest
from brief import training_lines, validation_lines
from conftest import TINY
from test_parallel import torchrun
from test_resume import assert_same_run

import xunlian
from xunlian.errors import InputError
from xunlian.machine.rates import Rates
from xunlian.runs.folder import open_run
from xunlian.training import decisions
from xunlian.training.step import Stepper

pytestmark = pytest.mark.usefixtures("no_measuring")

PAIRS = [*TINY, "task=translation", "model.heads=4", "training.validate_every=10"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Short words and the same backwards, by characters; the last hundred held out."""
    folder = tmp_path_factory.mktemp("words")
    chance = random.Random(1)
    found = dict.fromkeys("".join(chance.choices("abcdefgh", k=chance.randint(3, 6)))
                          for _ in range(3000))  # fmt: skip
    lines = [f"{word}\t{word[::-1]}\n" for word in found if word != word[::-1]]
    corpus = prepared(folder, lines[:-100], lines[-100:])
    return corpus.path, [line.rstrip("\n").split("\t") for line in lines[-100:]]


def prepared(folder, train_lines, val_lines):
    """A corpus by characters of lines with a tab between source and target."""
    (folder / "train.tsv").write_text("".join(train_lines))
    (folder / "val.tsv").write_text("".join(val_lines))
    return xunlian.prepare(
        folder / "train.tsv",
        pairs=True,
        val=folder / "val.tsv",
        out=folder / "corpus",
        tokenizer="char",
        workers=1,
    )


def train(corpus, out, *settings):
    return xunlian.train(xunlian.Recipe(), [f"corpus.path={corpus}", *PAIRS, *settings], out=out)


@pytest.mark.parametrize(
    "architecture", ["pegasus", pytest.param("marian", marks=pytest.mark.slow)]
)
def test_words_are_learned_backwards(words, tmp_path, architecture):
    corpus, held_out = words
    run = train(
        corpus,
        tmp_path / "run",
        f"model.architecture={architecture}",
        "training.budget=300 steps",
        "training.learning_rate=0.01",
        "model.dropout=0",
        "training.label_smoothing=0",
        "training.validate_every=100",
    )
    assert validation_lines(run)[-1]["val_loss"] < 0.2
    found = xunlian.load(run.path).translate([source for source, _ in held_out], beam=1)
    right = sum(text == target for text, (_, target) in zip(found, held_out, strict=True))
    assert right >= 80


def test_a_broken_off_training_goes_on_bit_by_bit(words, tmp_path, monkeypatch):
    corpus, _ = words
    settings = [
        "training.budget=24 steps",
        "training.checkpoint_every=7",
        "training.log_every=1",
        "training.average_decay=0.9",
        "model.dropout=0.2",
    ]
    train(corpus, tmp_path / "whole", *settings)
    step, taken = Stepper.step, []

    def falls_over(self, *arguments):
        taken.append(1)
        if len(taken) == 18:
            raise MemoryError
        return step(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", falls_over)
        with pytest.raises(MemoryError):
            train(corpus, tmp_path / "broken", *settings)
    xunlian.train(tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
def test_two_processes_train_on_pairs_like_one(words, tmp_path):
    corpus, _ = words
    settings = [f"corpus.path={corpus}", *PAIRS, "training.budget=12 steps",
                "training.log_every=1", "model.dropout=0"]  # fmt: skip
    xunlian.train("small", settings, out=tmp_path / "one")
    done = torchrun("train", "small", *settings, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one, two = open_run(tmp_path / "one"), open_run(tmp_path / "two")
    assert [row["loss"] for row in training_lines(one)] == pytest.approx(
        [row["loss"] for row in training_lines(two)], abs=1e-4
    )
    assert validation_lines(one)[-1]["val_loss"] == pytest.approx(
        validation_lines(two)[-1]["val_loss"], abs=1e-4
    )


def test_metrics_count_real_tokens(words, tmp_path):
    corpus, _ = words
    run = train(corpus, tmp_path / "run", "training.budget=1 epochs", "training.log_every=1")
    tokens = xunlian.info(corpus)["splits"]["train"]["tokens"]
    assert run.facts()["tokens"] == pytest.approx(tokens, rel=0.02)
    assert any("Rows hold" in note for note in run.facts()["notes"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["task=language-model"], "task is language-model, but the corpus .* holds pairs"),
        (["model.architecture=qwen3"], "qwen3 is not for pairs; choose pegasus or marian"),
        (["model.context=8", "model.heads=3"], "heads"),
        (["model.tied=false"], "shares its embedding"),
    ],
)
def test_what_does_not_go_with_pairs_is_told(words, tmp_path, settings, told):
    corpus, _ = words
    with pytest.raises(InputError, match=told):
        train(corpus, tmp_path / "run", "training.budget=2 steps", *settings)
    assert not (tmp_path / "run").exists()


def test_held_out_pairs_that_are_all_too_long_leave_the_training_without_a_validation(tmp_path):
    chance = random.Random(1)
    words = (
        ["".join(chance.choices("abcdefgh", k=letters)) for _ in range(count)]
        for letters, count in ((5, 300), (60, 3))
    )
    corpus = prepared(tmp_path, *([f"{word}\t{word[::-1]}\n" for word in some] for some in words))
    assert corpus.split_card("val")["pairs"] == 3
    facts = train(corpus.path, tmp_path / "run", "training.budget=2 steps").facts()
    assert facts["finished"] and facts["step"] == 2 and facts["best_val_loss"] is None
    assert any("Nothing is validated: all pairs" in note for note in facts["notes"])


def test_pairs_are_not_for_a_corpus_of_text(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"task is translation, but the corpus .* holds text"):
        train(tiny_corpus, tmp_path / "run")


def test_precision_is_decided_for_pairs_too(words, tmp_path, monkeypatch):
    monkeypatch.setattr(decisions, "measure_rates", lambda device: Rates(fp32=1e11, bf16=1e11))
    corpus, _ = words
    run = train(corpus, tmp_path / "run", "training.budget=2 steps", "training.precision=auto")
    assert run.recipe.training.precision == "fp32"
