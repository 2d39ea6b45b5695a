"""What a whole training does: its log, its budget, and how it fails without its rows."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from brief import RATES, short_corpus, train, training_lines, validation_lines
from conftest import TINY

import xunlian
from xunlian.data.packed import PackedRows
from xunlian.errors import XunlianError
from xunlian.recipe.size import training_flops_per_token
from xunlian.runs.folder import open_run
from xunlian.training import decisions, loop
from xunlian.training.checkpoint import list_checkpoints
from xunlian.training.schedule import Clock
from xunlian.training.step import Stepper

BATCH_TOKENS = 512  # as in TINY
ALWAYS = {"step", "tokens", "seconds"}
TRAINING = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu"}


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


def test_a_budget_of_epochs_reads_the_text_so_many_times(tmp_path):
    corpus = short_corpus(tmp_path)
    run = train(corpus, tmp_path / "run", "training.budget=3 epochs")
    tokens = xunlian.info(corpus)["splits"]["train"]["tokens"]
    assert run.facts()["step"] == round(3 * tokens / BATCH_TOKENS) >= 8
    assert run.facts()["tokens"] == run.facts()["step"] * BATCH_TOKENS
    assert list_checkpoints(run.checkpoints)[-1].name == f"step-{run.facts()['step']:08d}"


def test_a_budget_of_time_ends_with_the_rate_near_zero(tiny_corpus, tmp_path, monkeypatch):
    """By a clock of ours: setting up takes 1 s, which is not for the schedule, a step 0.02 s."""
    step, taken = Stepper.step, []

    def counted(self, *arguments):
        taken.append(1)
        return step(self, *arguments)

    def seconds(*_):
        return 1 + 0.02 * len(taken)

    monkeypatch.setattr(Stepper, "step", counted)
    monkeypatch.setattr(Clock, "seconds", seconds)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=seconds))
    monkeypatch.setattr(decisions, "_time_micro_batch", lambda *_: 0.02)
    run = train(tiny_corpus, tmp_path / "run", "training.budget=2s")
    facts, rates = run.facts(), [row["learning_rate"] for row in training_lines(run)]
    peak = run.recipe.training.learning_rate
    assert facts["finished"] and facts["seconds"] == pytest.approx(2, abs=0.03)
    at_peak = [rate == pytest.approx(peak) for rate in rates]
    assert sum(at_peak) / len(rates) == pytest.approx(1 - run.recipe.training.decay, abs=0.05)
    assert rates[-1] < 0.1 * peak
    assert rates[len(rates) // 2 :] == sorted(rates[len(rates) // 2 :], reverse=True)


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


@pytest.mark.usefixtures("no_measuring")
def test_a_budget_that_is_over_before_the_first_step_is_warned_of(tiny_corpus, tmp_path, capsys):
    settings = [f"corpus.path={tiny_corpus}", *TINY, "training.budget=60s"]
    begun = time.time() - 100
    run = xunlian.train(xunlian.Recipe(), settings, out=tmp_path / "run", started=begun)
    assert run.facts()["finished"] and run.facts()["step"] == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert any("over before the first step" in line for line in warnings)


def test_a_gpu_that_is_full_stops_the_run_where_it_was(tiny_corpus, tmp_path, monkeypatch):
    step, taken = Stepper.step, []

    def full(self, *arguments):
        taken.append(1)
        if len(taken) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", full)
    with pytest.raises(XunlianError, match="The GPU's memory is full"):
        train(tiny_corpus, tmp_path / "run", "training.budget=6 steps")
    facts = open_run(tmp_path / "run").facts()
    assert facts["step"] == 2 and not facts["finished"]


def test_a_disk_that_is_full_at_a_log_line_is_told(tiny_corpus, tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(loop, "open", full, raising=False)
    with pytest.raises(XunlianError, match=r"The disk is full: '.*metrics\.jsonl'"):
        train(tiny_corpus, tmp_path / "run", "training.budget=2 steps")
