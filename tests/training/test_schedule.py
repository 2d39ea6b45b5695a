"""The schedule over progress, and the clock that tells it."""

from types import SimpleNamespace

import pytest

from xunlian.recipe.budget import parse_budget
from xunlian.training import schedule
from xunlian.training.schedule import Clock, rate_factor

SHAPE = {"warmup": 0.1, "decay": 0.5, "final_rate": 0.0}


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.05, 0.5),
        (0.1, 1.0),
        (0.3, 1.0),
        (0.5, 1.0),
        (0.75, 0.5),
        (1.0, 0.0),
    ],
)
def test_the_rate_rises_stays_and_falls(progress, factor):
    assert rate_factor(progress, **SHAPE) == pytest.approx(factor)


def test_the_rate_never_goes_below_zero_or_its_final_part():
    assert rate_factor(1.5, **SHAPE) == 0
    assert rate_factor(1.0, warmup=0, decay=0.5, final_rate=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ("200 steps", 200),
        ("10000 tokens", 10),
        ("3 epochs", 15),
    ],
)
def test_budgets_turn_into_steps(budget, steps):
    clock = Clock(parse_budget(budget), batch_tokens=1000, epoch_tokens=5000, started=0)
    assert clock.total_steps == steps
    assert clock.progress(steps, 1.0) == 1


def test_a_wall_clock_budget_counts_earlier_processes_and_leaves_room_for_a_step(monkeypatch):
    monkeypatch.setattr(schedule, "time", SimpleNamespace(time=lambda: 1030.0))
    clock = Clock(parse_budget("100s"), 1000, 5000, started=1000.0, seconds_before=20)
    assert clock.total_steps is None
    assert clock.progress(0, 0.0) == pytest.approx(0.5)
    assert clock.progress(0, 50.0) == pytest.approx(1.0)


def test_the_schedule_begins_with_the_first_step_not_with_the_process(monkeypatch):
    now = SimpleNamespace(time=lambda: 1040.0)
    monkeypatch.setattr(schedule, "time", now)
    clock = Clock(parse_budget("100s"), 1000, 5000, started=1000.0)
    clock.setup_seconds = clock.seconds()  # imports and compiling took 40 of the 100
    assert clock.progress(0, 10.0) == 0
    now.time = lambda: 1065.0
    assert clock.progress(1, 10.0) == pytest.approx(0.5)
    now.time = lambda: 1090.0
    assert clock.progress(2, 10.0) == pytest.approx(1.0)


def test_there_is_no_step_where_compiling_took_the_whole_budget(monkeypatch):
    monkeypatch.setattr(schedule, "time", SimpleNamespace(time=lambda: 1095.0))
    clock = Clock(parse_budget("100s"), 1000, 5000, started=1000.0, setup_seconds=95.0)
    assert clock.progress(0, 10.0) >= 1
