"""The line: the stages that the documents of one chunk go through.

One task does all of it, batch after batch, so a text is in memory once; each stage leaves its
changes in a file of its own (columns.py). A task that is done again begins behind the last stage
whose file still holds: so a killed job goes on, and another setting of one stage costs only what
follows it.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from xunlian.corpus.budget import SECONDS, TooSlow, time_budget
from xunlian.corpus.columns import (
    CHANGES,
    Columns,
    ColumnWriter,
    apply,
    is_done,
    mark_done,
    read_rows,
)
from xunlian.corpus.engines.tasks import Told
from xunlian.corpus.tally import Tally


class Outcome(NamedTuple):
    """What a stage makes of a batch, a value for each of its texts.

    Attributes:
        texts: the same texts where nothing was changed.
        dropped: the reason to leave a document out, or None.
        notes: further columns, such as the language.
        changes: what was changed, counted.
    """

    texts: list[str]
    dropped: Sequence[str | None]
    notes: Columns
    changes: dict[str, int]


class Stage(NamedTuple):
    """A stage by its name, what of the settings it depends on, the types of its notes, and how to
    make its function (which may load a model, so it is made only where it is needed)."""

    name: str
    settings: Any
    notes: Sequence[tuple[str, pa.DataType]]
    make: Callable[[], Callable[[Columns], Outcome]]


def run_line(
    stages: Sequence[Stage], keys: Sequence[str], work: Path, chunk: str, told: Told
) -> None:
    """Bring a chunk that was read through `stages`, as far as that is not done.

    Args:
        keys: of each stage: they stand for all that its result depends on.
    """
    done = 0
    while done < len(stages) and is_done(work, stages[done].name, chunk, keys[done]):
        done += 1
    todo = stages[done:]
    if not todo:
        return
    functions = [stage.make() for stage in todo]
    tallies = [Tally() for _ in todo]
    with ExitStack() as files:
        writers = [
            files.enter_context(
                ColumnWriter(work, stage.name, chunk, pa.schema([*CHANGES, *stage.notes]))
            )
            for stage in todo
        ]
        for rows in read_rows(work, ["read", *(stage.name for stage in stages[:done])], chunk):
            before = tallies[0].bytes
            for writer, function, tally in zip(writers, functions, tallies, strict=True):
                changed = change(rows, function, tally)
                writer.write(changed)
                rows = apply(rows, changed)
                tally.leaves(rows)
            told(tallies[0].bytes - before)
    for stage, key, tally in zip(todo, keys[done:], tallies, strict=True):
        mark_done(work, stage.name, chunk, key, tally.plain())


def change(rows: Columns, function: Callable[[Columns], Outcome], tally: Tally) -> Columns:
    """One stage's columns for a batch: it sees only what is left of it."""
    live = [i for i, text in enumerate(rows["text"]) if text is not None]
    seen = {name: [column[i] for i in live] for name, column in rows.items()}
    tally.saw(rows)
    texts: list[str | None] = [None] * len(rows["text"])
    dropped: list[str | None] = [None] * len(rows["text"])
    if not live:
        return {"text": texts, "dropped": dropped}
    outcome = _in_time(function, seen)
    notes: Columns = {name: [None] * len(texts) for name in outcome.notes}
    for at, i in enumerate(live):
        old, new, reason = seen["text"][at], outcome.texts[at], outcome.dropped[at]
        if reason is not None:
            dropped[i] = reason
            tally.drop(reason, seen["id"][at], old)
        elif new is not old and new != old:
            texts[i] = new
            tally.changed += 1
        for name, values in outcome.notes.items():
            notes[name][i] = values[at]
    tally.changes.update(outcome.changes)
    return {"text": texts, "dropped": dropped, **notes}


def _in_time(function: Callable[[Columns], Outcome], rows: Columns) -> Outcome:
    """What the stage makes of the rows; a row that takes too long is left out as `too_slow`."""
    with contextlib.suppress(TooSlow), time_budget(SECONDS):
        return function(rows)
    texts: list[str] = []
    dropped: list[str | None] = []
    notes: Columns = {}
    changes: Counter[str] = Counter()
    for i in range(len(rows["text"])):
        one = {name: [column[i]] for name, column in rows.items()}
        try:
            with time_budget(SECONDS):
                outcome = function(one)
        except TooSlow:
            outcome = Outcome(one["text"], ["too_slow"], {}, {})
        texts += outcome.texts
        dropped += outcome.dropped
        for name, values in outcome.notes.items():
            notes.setdefault(name, [None] * i).extend(values)
        for values in notes.values():
            values += [None] * (i + 1 - len(values))
        changes.update(outcome.changes)
    return Outcome(texts, dropped, notes, changes)
