"""Steps that are queued, as on a GPU: the same bits, and nothing waits that need not."""

from functools import cached_property

import pytest
import torch
from brief import train

from xunlian.data.packed import PackedRows
from xunlian.training.checkpoint import load_checkpoint
from xunlian.training.step import Stepper, StepResult


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
