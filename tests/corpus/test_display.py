"""While a corpus is made one sees how far it is: from finished tasks, on a terminal and off one."""

import io
import re
from pathlib import Path

import orjson
import pytest

from xunlian.corpus import display as module
from xunlian.corpus.build import build_corpus
from xunlian.corpus.display import Display, Step
from xunlian.corpus.engines.engine import Engine
from xunlian.recipe.settings import Corpus, Tokenizer


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module, "say", lines.append)
    return lines


def test_speed_and_time_left_come_from_what_was_done(clock: list[float]) -> None:
    step = Step(Display(), "clean", 2, [30e6, 30e6])
    assert step.progress() == "0 B of 60 MB"
    clock[0] += 10
    step.told(20_000_000)
    assert step.progress() == "20 MB of 60 MB, 2.00 MB/s, 20 s left"
    step.told(10_000_000)
    step.done(0)  # which told of all its bytes: they do not count twice
    assert step.progress().startswith("30 MB of 60 MB, 3.00 MB/s")
    step.told(30_000_000)
    step.done(1)
    assert step.progress() == "60 MB, 6.00 MB/s, in 10 s"


def test_a_task_that_was_done_before_counts_as_done_but_not_as_speed(clock: list[float]) -> None:
    step = Step(Display(), "clean", 4, [10e6] * 4)
    step.done(0)
    step.done(1)
    clock[0] += 5
    step.told(5_000_000)
    assert step.progress() == "20 MB of 40 MB, 1.00 MB/s, 20 s left"


def test_tasks_without_a_size_are_counted(clock: list[float]) -> None:
    step = Step(Display(), "duplicates: match", 8, None)
    clock[0] += 6
    for number in range(6):
        step.done(number)
    assert step.progress() == "6 of 8 tasks, 2 s left"


def test_off_a_terminal_there_is_a_line_now_and_then(clock: list[float], said: list[str]) -> None:
    display = Display()
    with display.step("clean", 100, [1e6] * 100) as step:
        for number in range(100):
            clock[0] += 0.3
            step.done(number)
            display.count("language", 50, 10)
            display.count("quality", 40, 1)
    assert len(said) == 3  # after 10 and 20 seconds, and at the end
    assert re.match(r"clean: 3\d MB of 100 MB, 3\.\d+ MB/s, \d+ s left; ", said[0])
    assert said[-1] == (
        "clean: 100 MB, 3.33 MB/s, in 30 s; 3,900 documents kept, left out 1,000 by language, "
        "100 by quality"
    )
    with display.step("encode", 1, [1e6]) as step:
        step.done(0)
    assert len(said) == 3  # it was over at once


@pytest.mark.parametrize(("workers", "copies"), [(1, {}), (2, None)])
def test_the_counts_are_those_of_the_card(tmp_path: Path, monkeypatch, workers, copies) -> None:
    (tmp_path / "in").mkdir()
    for n in range(3):
        texts = [f"{n} {i} " + "a plain sentence of words. " * 30 for i in range(40)] + ["", "no"]
        (tmp_path / "in" / f"{n}.jsonl").write_bytes(
            b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
        )
    displays: list[Display] = []
    monkeypatch.setattr(
        "xunlian.corpus.runner.Display", lambda: displays.append(Display()) or displays[0]
    )
    corpus = build_corpus(
        Corpus(
            sources=(str(tmp_path / "in"),),
            quality={"rules": [], "keywords": ["0 3"]},  # type: ignore[arg-type]
            deduplicate=copies,
        ),
        Tokenizer(kind="byte"),
        tmp_path / "out",
        Engine(workers=workers),
    )
    shown = displays[0].stages
    assert list(shown) == [
        "read",
        "clean",
        "quality",
        *(["duplicates"] if copies is not None else []),
    ]
    assert (shown["read"].given, shown["read"].left_out) == (126, 3)
    for name in list(shown)[1:]:
        stage = corpus.card["stages"][name]
        assert shown[name].given == stage["pieces"]
        assert shown[name].left_out == sum(stage["dropped"].values())
    assert shown["quality"].left_out > 0


def test_a_terminal_shows_a_table_and_a_bar(monkeypatch, clock: list[float]) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(module, "console", lambda: screen)
    display = Display()
    display.count("read", 1200, 7)
    with display.step("clean", 2, [2e6, 2e6]) as step:
        clock[0] += 4
        step.done(0)
        screen.print(step.table())
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())  # type: ignore[attr-defined]
    assert re.search(r"read +1,200 +1,193 +7", shown)
    assert re.search(r"clean +━+.* +2 MB of 4 MB, 0\.50 MB/s, 4 s left", shown)
