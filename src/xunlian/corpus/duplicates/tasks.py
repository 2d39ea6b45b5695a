"""Deduplication as tasks of a job: every chunk is signed, then find.py's steps, then each chunk
loses its copies.

    WORK/signatures/KEY/            signature files and what the steps make of them
    WORK/duplicates/00007-0002.arrow     the stage's file: rows that go, texts that lose lines
"""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

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
from xunlian.corpus.duplicates.files import signature_file, signing
from xunlian.corpus.duplicates.find import Job, dropped, dropped_paragraphs, statistics, steps
from xunlian.corpus.duplicates.runs import Range
from xunlian.corpus.engines.tasks import Task, Told
from xunlian.corpus.line import Outcome, change
from xunlian.corpus.stages.exact import without_paragraphs
from xunlian.corpus.tally import Tally, size
from xunlian.recipe.corpus_dedup import Deduplicate

STAGE = "duplicates"
_HERE = "xunlian.corpus.duplicates.tasks"


def sign_tasks(
    folder: Path, chunks: Sequence[str], stages: Sequence[list[str]], settings: Deduplicate
) -> list[Task]:
    """A task for each chunk that is not signed yet; `stages` are those of each chunk."""
    return [
        Task(
            f"{_HERE}:sign_chunk",
            {
                "chunk": chunk,
                "number": number,
                "stages": stages[number],
                "folder": str(folder.resolve()),
                "settings": settings.model_dump(mode="json"),
            },
        )
        for number, chunk in enumerate(chunks)
        if not signature_file(folder, number).exists()
    ]


def step_tasks(
    folder: Path, chunks: int, settings: Deduplicate
) -> Iterator[tuple[str, list[Task]]]:
    """(name, tasks) of one step after the other; all of a step's must be done before the next."""
    for name, jobs in steps(folder.resolve(), chunks, settings):
        yield name, [task_of(job) for job in jobs if not job.out.exists()]


def task_of(job: Job) -> Task:
    """The same job as plain data, for any process."""
    function = f"{job.function.__module__}:{job.function.__name__}"
    # Keys of ranges go up to 2^64, which JSON does not hold everywhere.
    arguments = [
        {"range": [str(number) for number in one]} if isinstance(one, Range) else one
        for one in job.arguments
    ]
    where = {"folder": str(job.folder), "tasks": job.tasks, "out": str(job.out)}
    return Task(f"{_HERE}:do_step", {"function": function, **where, "arguments": arguments})


def do_step(
    work: str,
    function: str,
    folder: str,
    tasks: int,
    out: str,
    arguments: list[Any],
    told: Told,
) -> None:
    """Carry out one of find.py's jobs."""
    module, name = function.split(":")
    given = tuple(
        Range(*map(int, one["range"])) if isinstance(one, dict) else one for one in arguments
    )
    Job(getattr(import_module(module), name), Path(folder), tasks, Path(out), given)()


def sign_chunk(
    work: str,
    chunk: str,
    number: int,
    stages: list[str],
    folder: str,
    settings: dict[str, Any],
    told: Told,
) -> None:
    """Leaves the signatures of what is left of a chunk, which is task `number` there."""
    with signing(Path(folder), number, Deduplicate.model_validate(settings)) as signer:
        for rows in read_rows(Path(work), stages, chunk):
            live = [text for text in rows["text"] if text is not None]
            told(sum(map(size, live)))
            signer.add(live)


def drop_chunk(
    work: str,
    chunk: str,
    number: int,
    chunks: int,
    stages: list[str],
    folder: str,
    key: str,
    told: Told,
) -> None:
    """Leaves the stage's file of a chunk."""
    if is_done(Path(work), STAGE, chunk, key):
        return
    found = dropped(Path(folder), chunks, number)
    reasons = dict(zip(found.rows.tolist(), found.reasons, strict=True))
    lines = dropped_paragraphs(Path(folder), chunks, number)
    tally, without = Tally(), _without(reasons, lines)
    with ColumnWriter(Path(work), STAGE, chunk, pa.schema(CHANGES)) as writer:
        for rows in read_rows(Path(work), stages, chunk):
            changed = change(rows, without, tally)
            writer.write(changed)
            tally.leaves(apply(rows, changed))
    mark_done(Path(work), STAGE, chunk, key, tally.plain())


def _without(reasons: dict[int, str], lines: dict[int, list[int]]) -> Callable[[Columns], Outcome]:
    """A stage that takes the live rows in their order."""
    row = 0

    def run(rows: Columns) -> Outcome:
        nonlocal row
        texts, dropped, cut = [], [], 0
        for text in rows["text"]:
            gone = lines.get(row, ())
            left = without_paragraphs(text, gone) if gone else text
            cut += len(gone)
            reason = reasons.get(row) or (None if left.strip() or not gone else "repeated_lines")
            texts.append(left)
            dropped.append(reason)
            row += 1
        return Outcome(texts, dropped, {}, {"repeated_lines": cut} if cut else {})

    return run


def clusters(
    work: Path, folder: Path, chunks: Sequence[str], stages: Sequence[list[str]]
) -> tuple[list[tuple[str, int]], list[list[str]]]:
    """For the report: (copies of one document, such groups), and the texts of a few groups."""
    found = statistics(folder, len(chunks))
    groups = [
        [tuple(example["kept"]), *(tuple(one["document"]) for one in example["dropped"])]
        for example in found["examples"]
    ]
    wanted = {place for group in groups for place in group}
    texts = {
        place: text
        for number in {number for number, _ in wanted}
        for place, text in _texts(work, chunks, stages, number, wanted)
    }
    return list(found["sizes"].items()), [[texts[place] for place in group] for group in groups]


def _texts(
    work: Path,
    chunks: Sequence[str],
    stages: Sequence[list[str]],
    number: int,
    wanted: set[tuple[int, int]],
) -> Iterator[tuple[tuple[int, int], str]]:
    row = 0
    for rows in read_rows(work, stages[number], chunks[number]):
        for text in rows["text"]:
            if text is not None:
                if (number, row) in wanted:
                    yield (number, row), text[:400]
                row += 1
