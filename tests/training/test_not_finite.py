"""Steps whose loss or gradient is not finite: left out, told, and too many of them the end."""

import math

import pytest
from brief import train, training_lines
from conftest import TINY

from xunlian.cli import main
from xunlian.errors import XunlianError
from xunlian.runs.folder import open_run
from xunlian.training.checkpoint import load_checkpoint
from xunlian.training.step import Stepper


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
