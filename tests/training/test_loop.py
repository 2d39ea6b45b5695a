"""What a whole training does: its budget, its log, its best weights, and how it fails."""

import math
from functools import cached_property

import pytest
import torch
from brief import RATES, train, training_lines, transformers_logits, validation_lines
from conftest import SAMPLES, TINY
from safetensors.torch import load_file
from torch.nn import functional as F

import xunlian
from xunlian.cli import main
from xunlian.data.packed import PackedRows
from xunlian.errors import XunlianError
from xunlian.evaluation import perplexity
from xunlian.evaluation.perplexity import window_losses
from xunlian.recipe.size import training_flops_per_token
from xunlian.runs.folder import open_run
from xunlian.shards.corpus import open_corpus
from xunlian.training.checkpoint import list_checkpoints, load_checkpoint
from xunlian.training.step import Stepper, StepResult

CONTEXT, BATCH_TOKENS = 32, 512  # as in TINY
ALWAYS = {"step", "tokens", "seconds"}
TRAINING = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu"}


@pytest.fixture(scope="module")
def overfitting(tmp_path_factory):
    """A corpus so small that it is soon known by heart, and a validation text that it is not."""
    folder = tmp_path_factory.mktemp("overfitting")
    shakespeare = (SAMPLES / "shakespeare.txt").read_text("utf-8")
    (folder / "train.txt").write_text(shakespeare[:1500], "utf-8")
    (folder / "val.txt").write_text(shakespeare[50_000:52_000], "utf-8")
    xunlian.prepare(
        folder / "train.txt", out=folder / "corpus", val=folder / "val.txt", tokenizer="char"
    )
    return folder / "corpus"


@pytest.fixture(scope="module")
def finely_logged(tiny_corpus, tmp_path_factory):
    """Twelve steps with a line for each."""
    return train(
        tiny_corpus,
        tmp_path_factory.mktemp("fine") / "run",
        "training.budget=12 steps",
        "training.log_every=1",
        "training.validate_every=6",
        "training.warmup=0.25",
        "training.decay=0.5",
        "training.final_rate=0.1",
    )


# The log


def test_log_lines_have_the_documented_fields_and_no_others(finely_logged):
    rows = finely_logged.metrics()
    assert {frozenset(row) for row in rows} == {
        frozenset(ALWAYS | TRAINING),
        frozenset({*ALWAYS, "val_loss"}),
    }
    assert [row["step"] for row in training_lines(finely_logged)] == list(range(1, 13))
    assert [row["step"] for row in validation_lines(finely_logged)] == [6, 12]
    assert all(row["tokens"] == row["step"] * BATCH_TOKENS for row in rows)
    times = [row["seconds"] for row in rows]
    assert times == sorted(times) and times[0] > 0
    for row in training_lines(finely_logged):
        assert row["tokens_per_second"] > 0 and row["grad_norm"] > 0
    # A network that knows nothing pays ln V.
    vocab_size = finely_logged.facts()["vocab_size"]
    assert training_lines(finely_logged)[0]["loss"] == pytest.approx(math.log(vocab_size), abs=1e-3)


def test_logged_rates_rise_stay_and_fall(finely_logged):
    rates = [row["learning_rate"] for row in training_lines(finely_logged)]
    factors = [rate / finely_logged.recipe.training.learning_rate for rate in rates]
    rising = [0.01, 1 / 3, 2 / 3]
    falling = [1 - 0.9 * n / 6 for n in range(6)]
    assert factors == pytest.approx([*rising, 1, 1, 1, *falling])


def test_mfu_is_the_share_of_the_measured_rate(finely_logged):
    model, facts = finely_logged.recipe.model, finely_logged.facts()
    flops = training_flops_per_token(model, model, facts["vocab_size"])
    assert flops == pytest.approx(6 * facts["parameters"], rel=0.3)
    for row in training_lines(finely_logged):
        assert row["mfu"] == pytest.approx(row["tokens_per_second"] * flops / RATES.fp32)


def test_a_line_has_the_mean_loss_since_the_line_before(finely_logged, tiny_corpus, tmp_path):
    coarse = train(
        tiny_corpus,
        tmp_path / "run",
        "training.budget=12 steps",
        "training.log_every=4",
        "training.validate_every=6",
        "training.warmup=0.25",
        "training.decay=0.5",
        "training.final_rate=0.1",
    )
    fine = [row["loss"] for row in training_lines(finely_logged)]
    means = [fine[0], sum(fine[1:4]) / 3, sum(fine[4:8]) / 4, sum(fine[8:]) / 4]
    assert [row["step"] for row in training_lines(coarse)] == [1, 4, 8, 12]
    assert [row["loss"] for row in training_lines(coarse)] == pytest.approx(means)


# The budget


def test_a_budget_of_epochs_reads_the_text_so_many_times(overfitting, tmp_path):
    run = train(overfitting, tmp_path / "run", "training.budget=3 epochs")
    tokens = xunlian.info(overfitting)["splits"]["train"]["tokens"]
    assert run.facts()["step"] == round(3 * tokens / BATCH_TOKENS) >= 8
    assert run.facts()["tokens"] == run.facts()["step"] * BATCH_TOKENS
    assert list_checkpoints(run.checkpoints)[-1].name == f"step-{run.facts()['step']:08d}"


def test_a_budget_of_time_ends_with_the_rate_near_zero(tiny_corpus, tmp_path):
    run = train(tiny_corpus, tmp_path / "run", "training.budget=2s")
    facts, rates = run.facts(), [row["learning_rate"] for row in training_lines(run)]
    peak = run.recipe.training.learning_rate
    assert facts["finished"] and facts["seconds"] > 1.5
    assert max(rates) == pytest.approx(peak)
    assert rates[-1] < 0.1 * peak
    assert rates[len(rates) // 2 :] == sorted(rates[len(rates) // 2 :], reverse=True)


# The best weights


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


# Dropout


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


# Steps that are not finite


def spoil(monkeypatch, steps) -> None:
    """Make the loss of these steps of a training (1 is the first) NaN."""
    step, taken = Stepper.step, []

    def spoilt(self, *arguments):
        taken.append(None)
        weight = self.model.norm.weight
        kept = weight.detach().clone()
        if len(taken) in steps:
            weight.data[0] = math.nan
        result = step(self, *arguments)
        if len(taken) in steps:
            weight.data.copy_(kept)
        return result

    monkeypatch.setattr(Stepper, "step", spoilt)


@pytest.mark.parametrize("queues", [False, True])
def test_steps_that_are_not_finite_are_left_out_counted_and_told(
    tiny_corpus, tmp_path, monkeypatch, capsys, queues
):
    monkeypatch.setattr(Stepper, "queues", queues)
    spoil(monkeypatch, {3, 4, 5, 6, 8})  # never five in a row
    run = train(
        tiny_corpus,
        tmp_path / "run",
        "training.budget=12 steps",
        "training.log_every=1",
        "training.validate_every=12",
    )
    facts = run.facts()
    assert facts["finished"] and facts["step"] == 12 and facts["skipped"] == 5
    lines = {row["step"]: row for row in training_lines(run)}
    assert {n for n, row in lines.items() if row["loss"] is None} == {3, 4, 5, 6, 8}
    assert {n for n, row in lines.items() if row["grad_norm"] is None} == {3, 4, 5, 6, 8}
    assert lines[12]["loss"] < lines[2]["loss"]
    errors = capsys.readouterr().err
    assert "Step 8: the loss or the gradient is not finite" in errors
    assert "5 steps were left out" in run.report_file.read_text("utf-8")


def test_five_such_steps_in_a_row_stop_the_run_with_advice(tiny_corpus, tmp_path, monkeypatch):
    spoil(monkeypatch, range(14, 100))
    out = tmp_path / "run"
    with pytest.raises(XunlianError) as caught:
        train(
            tiny_corpus,
            out,
            "training.budget=100 steps",
            "training.validate_every=6",
            "training.checkpoint_every=7",
            "training.warmup=0",
        )
    assert caught.value.exit_status == 1
    message = str(caught.value)
    assert message.startswith("5 steps in a row had no finite gradient")
    assert "training.learning_rate" in message and f"model.init_from={out}" in message
    facts = open_run(out).facts()
    assert facts["step"] == 18 and facts["skipped"] == 5 and not facts["finished"]
    assert facts["best_step"] == 12
    assert load_checkpoint(out / "checkpoints")[2]["step"] == 14
    # What the advice names works.
    monkeypatch.undo()
    again = train(
        tiny_corpus,
        tmp_path / "again",
        f"model.init_from={out}",
        "training.budget=2 steps",
        "training.learning_rate=0.001",
    )
    assert training_lines(again)[0]["loss"] < 5


def test_a_rate_that_explodes_ends_with_status_1_and_one_line(tiny_corpus, tmp_path, capsys):
    arguments = [f"corpus.path={tiny_corpus}", *TINY, "training.budget=100 steps"]
    rates = ["training.learning_rate=1e38", "training.optimizer=adamw", "training.warmup=0"]
    assert main(["train", "small", *arguments, *rates, "--out", str(tmp_path / "run")]) == 1
    errors = capsys.readouterr().err
    assert "xunlian train: 5 steps in a row" in errors.splitlines()[-1]
    assert "Traceback" not in errors


# Steps that are queued, as on a GPU


@pytest.mark.parametrize("log_every", [1, 4])
def test_queued_steps_write_the_log_and_the_weights_of_steps_that_are_waited_for(
    tiny_corpus, tmp_path, monkeypatch, log_every
):
    settings = [
        "training.budget=12 steps",
        f"training.log_every={log_every}",
        "training.validate_every=6",
        "training.warmup=0.25",
        "training.decay=0.5",
        "training.final_rate=0.1",
    ]
    waiting = train(tiny_corpus, tmp_path / "waiting", *settings)
    monkeypatch.setattr(Stepper, "queues", True)
    queueing = train(tiny_corpus, tmp_path / "queueing", *settings)
    timed = {"seconds", "tokens_per_second", "mfu"}
    one, other = (
        [{name: value for name, value in row.items() if name not in timed} for row in run.metrics()]
        for run in (waiting, queueing)
    )
    assert one == other
    (weights, state, _), (their_weights, their_state, _) = (
        load_checkpoint(run.checkpoints) for run in (waiting, queueing)
    )
    for name, tensor in {**weights, **state}.items():
        assert torch.equal(tensor, {**their_weights, **their_state}[name]), name


def test_a_queued_step_is_looked_at_when_the_next_has_its_rows(tiny_corpus, tmp_path, monkeypatch):
    """Steps 1, 5 and 6 are waited for: their results are in the log, or in a validation."""
    events = []
    step, read, look = Stepper.step, PackedRows.read, StepResult._read.func

    def stepping(self, *arguments):
        result = step(self, *arguments)
        result.number = sum(kind == "step" for kind, _ in events) + 1
        events.append(("step", result.number))
        return result

    def reading(self, first, count):
        if first or events:  # not the trial run before
            events.append(("rows", first // count + 1))
        return read(self, first, count)

    def looking(self):
        events.append(("look", self.number))
        return look(self)

    monkeypatch.setattr(Stepper, "queues", True)
    monkeypatch.setattr(Stepper, "step", stepping)
    monkeypatch.setattr(PackedRows, "read", reading)
    looked = cached_property(looking)
    looked.__set_name__(StepResult, "_read")
    monkeypatch.setattr(StepResult, "_read", looked)
    train(
        tiny_corpus,
        tmp_path / "run",
        "training.budget=6 steps",
        "training.log_every=5",
        "training.validate_every=6",
    )
    expected = [("step", 1), ("rows", 2), ("look", 1)]
    expected += [("step", 2), ("rows", 3)]
    expected += [("step", 3), ("rows", 4), ("look", 2)]
    expected += [("step", 4), ("rows", 5), ("look", 3)]
    expected += [("step", 5), ("rows", 6), ("look", 4), ("look", 5)]
    expected += [("step", 6), ("rows", 7), ("look", 6)]
    assert events == expected


def test_rows_that_cannot_be_read_stop_the_run_where_it_was(tiny_corpus, tmp_path, monkeypatch):
    read = PackedRows.read

    def failing(self, first, count):
        if first // count == 3:
            raise OSError("the disk is gone")
        return read(self, first, count)

    monkeypatch.setattr(PackedRows, "read", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        train(tiny_corpus, tmp_path / "run", "training.budget=6 steps")
    assert open_run(tmp_path / "run").facts()["step"] == 3
