"""A trial counts what is usual, not how a process warms up or what disturbs one step."""

from types import SimpleNamespace

import pytest
import torch

from xunlian.studies import trial
from xunlian.training.parallel import Group

GROUP = Group(0, 1, torch.device("cpu"))


class Clock:
    """Time that passes only when something says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(trial.time, "perf_counter", lambda: self.now)


def stepper_of(clock: Clock, seconds: list[float]):
    """Steps that take these seconds, and the last of them from then on."""
    left = list(seconds)

    def step(batch, rate, momentum):
        clock.now += left.pop(0) if len(left) > 1 else left[0]
        return SimpleNamespace(wait=lambda: None)

    return SimpleNamespace(step=step, model=None, dtype=torch.float32)


def rows_of(read: list):
    return SimpleNamespace(context=8, read=lambda first, count: read.append((first, count)))


def test_slow_first_steps_and_one_that_is_disturbed_do_not_count(monkeypatch):
    clock, read = Clock(monkeypatch), []
    stepper = stepper_of(clock, [9.0, 5.0, 4.0, 0.5, 0.5, 7.0, 0.5])
    seconds = trial.time_steps(stepper, rows_of(read), 32, GROUP)
    assert seconds == pytest.approx(0.5)
    assert read == [(4 * number, 4) for number in range(len(read))]  # each step has rows of its own


def test_short_steps_are_timed_often_and_long_ones_seldom(monkeypatch):
    for seconds, steps in ((0.01, trial.MOST_STEPS), (20.0, trial.FEWEST_STEPS)):
        read = []
        trial.time_steps(stepper_of(Clock(monkeypatch), [seconds]), rows_of(read), 32, GROUP)
        assert len(read) == trial.WARM_UP + steps


def test_a_long_validation_is_run_in_part(monkeypatch):
    clock, ranges = Clock(monkeypatch), []

    def nats(model, first, last, dtype):
        ranges.append((first, last))
        clock.now += 0.5 * (last - first)

    objective = SimpleNamespace(validation=SimpleNamespace(parts=100, nats=nats))
    stepper = stepper_of(clock, [1.0])
    assert trial.time_validation(stepper, objective, 2.0) == pytest.approx(50)
    assert trial.time_validation(stepper, objective, 4 * trial.MOST_SECONDS) == pytest.approx(50)
    assert ranges == [(0, 100), (0, 25)]
    assert trial.time_validation(stepper, SimpleNamespace(validation=None), 2.0) == 0


def test_the_middle_half_is_counted():
    assert trial.middle([1.0, 2.0, 4.0, 100.0]) == 3.0
    assert trial.middle([5.0]) == 5.0
