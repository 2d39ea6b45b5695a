"""Tokens a second, MFU and the seconds that are left."""

import pytest

from xunlian.recipe.budget import parse_budget
from xunlian.training.pace import Pace
from xunlian.training.schedule import Clock


def a_pace(waiting_share=1.0):
    return Pace(
        step_seconds=2.0,
        step_tokens=1000,
        flops_per_token=3e6,
        waiting_share=waiting_share,
        matmul_rate=6e9,
    )


def a_clock(budget):
    return Clock(parse_budget(budget), batch_tokens=1000, epoch_tokens=5000, started=0)


def test_the_first_step_is_not_counted_and_later_ones_move_the_average():
    pace = a_pace()
    pace.learn(50.0, 1)
    assert pace.step_seconds == 2.0
    pace.learn(4.0, 2)
    assert pace.step_seconds == 4.0
    pace.learn(5.0, 3)
    assert pace.step_seconds == pytest.approx(4.1)


def test_mfu_counts_the_blocks_that_learn():
    pace = a_pace(waiting_share=0.5)
    assert pace.tokens_per_second == 500
    assert pace.mfu(growing=False) == pytest.approx(500 * 3e6 / 6e9)
    assert pace.mfu(growing=True) == pytest.approx(pace.mfu(growing=False) / 2)


@pytest.mark.parametrize("step", [0, 10, 70, 99])
def test_the_seconds_left_are_those_of_the_steps_to_come(step):
    whole = a_pace().seconds_left(a_clock("100 steps"), step, growing=False, decay=0.3)
    assert whole == (100 - step) * 2.0
    # While blocks wait a step takes 2 s; from step 70 on, with all of them, 4 s.
    growing = a_pace(waiting_share=0.5).seconds_left(a_clock("100 steps"), step, True, decay=0.3)
    assert growing == pytest.approx(sum(2.0 if s < 70 else 4.0 for s in range(step, 100)))


def test_of_a_budget_of_time_what_is_left_is_on_the_clock(monkeypatch):
    clock = a_clock("100s")
    monkeypatch.setattr(clock, "seconds", lambda: 30.0)
    assert a_pace().seconds_left(clock, 5, growing=False, decay=0.3) == pytest.approx(70)
    monkeypatch.setattr(clock, "seconds", lambda: 130.0)
    assert a_pace().seconds_left(clock, 5, growing=False, decay=0.3) == 0
