"""The line: the stages that the documents of one chunk go through.

One task does all of it, batch after batch, so a text is in memory once; each stage leaves its
changes in a file of its own (columns.py). A task that is done again begins behind the last stage
whose file still holds: so a killed job goes on, and another setting of one stage costs only what
follows it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

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
from xunlian.corpus.guard import Guard, Outcome
from xunlian.corpus.tally import Tally
from xunlian.corpus.trail import Suspicion, Trail


class Stage(NamedTuple):
    """A stage by its name, what of the settings it depends on, the types of its notes, and how to
    make its function (which may load a model, so it is made only where it is needed)."""

    name: str
    settings: Any
    notes: Sequence[tuple[str, pa.DataType]]
    make: Callable[[], Callable[[Columns], Outcome]]


def run_line(
    stages: Sequence[Stage],
    keys: Sequence[str],
    work: Path,
    chunk: str,
    told: Told,
    stops: bool = False,
    suspicion: Suspicion | None = None,
) -> None:
    """Bring a chunk that was read through `stages`, as far as that is not done.

    Args:
        keys: of each stage: they stand for all that its result depends on.
        stops, suspicion: what to do where a stage cannot do its work (guard.py, trail.py).

    Raises:
        InputError: with `stops`, at the first such document.
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
        trail = Trail(work / "trails" / chunk, suspicion) if suspicion else None
        files.enter_context(trail or nullcontext())
        guards = [Guard(stage.name, stops, trail) for stage in todo]
        writers = [
            files.enter_context(
                ColumnWriter(work, stage.name, chunk, pa.schema([*CHANGES, *stage.notes]))
            )
            for stage in todo
        ]
        for rows in read_rows(work, ["read", *(stage.name for stage in stages[:done])], chunk):
            before = tallies[0].bytes
            line = zip(writers, functions, tallies, guards, strict=True)
            for writer, function, tally, guard in line:
                changed = change(rows, function, tally, guard)
                writer.write(changed)
                rows = apply(rows, changed)
                tally.leaves(rows)
            told(tallies[0].bytes - before)
    for stage, key, tally in zip(todo, keys[done:], tallies, strict=True):
        mark_done(work, stage.name, chunk, key, tally.plain())


def change(
    rows: Columns,
    function: Callable[[Columns], Outcome],
    tally: Tally,
    guard: Guard | None = None,
) -> Columns:
    """One stage's columns for a batch: it sees only what is left of it."""
    live = [i for i, text in enumerate(rows["text"]) if text is not None]
    seen = {name: [column[i] for i in live] for name, column in rows.items()}
    tally.saw(rows)
    texts: list[str | None] = [None] * len(rows["text"])
    dropped: list[str | None] = [None] * len(rows["text"])
    if not live:
        return {"text": texts, "dropped": dropped}
    outcome = (guard or Guard())(function, seen)
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
