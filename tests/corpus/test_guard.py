"""Stages that are too slow, or fail, on one document: it alone is left out, or named."""

import signal
import subprocess
import sys
from collections import Counter

import pytest

from xunlian.corpus import guard
from xunlian.corpus.budget import TooSlow, time_budget
from xunlian.corpus.guard import UNABLE, Guard, Outcome
from xunlian.corpus.line import change
from xunlian.corpus.tally import Tally
from xunlian.errors import InputError

ROWS = {
    "id": ["a", "b", "c", "d"],
    "text": ["one", "two bad", "three", "four"],
    "first": [True] * 4,
    "last": [True] * 4,
    "kind": ["text"] * 4,
}


def judge(rows):
    reasons = ["bad" if "bad" in text else None for text in rows["text"]]
    return Outcome(rows["text"], reasons, {"n": [len(text) for text in rows["text"]]}, Counter())


def slow(rows):
    for text in rows["text"]:
        while text == "four":
            pass
    return judge(rows)


def failing(rows):
    if "three" in rows["text"]:
        raise LookupError("three")
    return judge(rows)


def test_a_document_that_takes_too_long_is_set_aside_and_the_others_are_not(monkeypatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    tally = Tally()
    changed = change(ROWS, slow, tally)
    assert changed["dropped"] == [None, "bad", None, "too_slow"]
    assert changed["n"] == [3, 7, 5, None]
    assert tally.examples["too_slow"] == [("d", "four")]


def test_a_document_on_which_a_stage_fails_is_set_aside_and_the_others_are_not() -> None:
    assert change(ROWS, failing, Tally())["dropped"] == [None, "bad", "failed", None]


def test_without_skip_the_first_such_document_stops_the_job(monkeypatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    with pytest.raises(InputError, match=r"'d' takes more than .* \(stage quality\).*skip"):
        change(ROWS, slow, Tally(), Guard("quality", stops=True))
    with pytest.raises(InputError, match=r"'c' makes a library fail \(LookupError\('three'\)\)"):
        change(ROWS, failing, Tally(), Guard("quality", stops=True))
    assert change(ROWS, judge, Tally(), Guard("quality", stops=True))["dropped"][1] == "bad"


@pytest.mark.parametrize("reason", sorted(UNABLE))
def test_what_a_stage_could_not_do_is_no_verdict(reason: str) -> None:
    def run(rows):
        return Outcome(rows["text"], [None, reason, None, None], {}, {})

    with pytest.raises(InputError, match="'b' "):
        change(ROWS, run, Tally(), Guard("extract", stops=True))
    assert change(ROWS, run, Tally(), Guard("extract"))["dropped"][1] == reason


def test_the_user_s_mistake_in_a_stage_is_not_the_document_s() -> None:
    def run(rows):
        raise InputError("quality.patterns: no regular expression")

    with pytest.raises(InputError, match=r"quality\.patterns"):
        change(ROWS, run, Tally())


def test_a_library_that_catches_everything_is_stopped_all_the_same() -> None:
    def stubborn() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    with pytest.raises(TooSlow), time_budget(0.1):
        stubborn()
    with pytest.raises(TooSlow), time_budget(0.1):
        try:
            stubborn()
        except TooSlow:
            stubborn()


def test_a_library_that_does_not_come_back_is_ended_with_its_process() -> None:
    script = (
        "from xunlian.corpus.budget import time_budget\n"
        "with time_budget(0.1):\n"
        "    sum(range(10**12))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=120)
    assert done.returncode == -signal.SIGVTALRM
