"""Duplicates in a corpus of any size: from the signatures of all tasks to what each task drops.

Each step is a list of independent jobs, every one of which writes one file (whole or not at all)
out of files that are there already. So any engine may run the jobs of a step in any order on any
machine that sees the folder; a job whose file exists is not done again; and no job needs more
memory than `RECORDS` records do, whatever the corpus's size.

    documents  number the documents of all tasks
    exact      equal hashes: all but the first are copies
    match      equal bands: candidates for near-duplicates
    verify     candidates whose sketches are as similar as wanted
    cluster    union-find over those pairs, the one step that is a single job
    members    who is in which cluster
    choose     in each cluster the longest document stays, and what is similar *to it* goes; so on
               with what is left, so that a chain of small changes drops no text that is unlike
               all that stay
    drops      per task: the rows to drop
    lines      long lines that stand in an earlier document, or earlier in the same

What is kept does not depend on the number of tasks. It does not depend on the order of the
documents either, except that of exact copies (they may differ in case and space) the first stays:
among equally long near-duplicates the hash of the text decides.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xunlian.corpus.duplicates.arrays import open_arrays, write_arrays
from xunlian.corpus.duplicates.clusters import choose, cluster, members
from xunlian.corpus.duplicates.files import Work
from xunlian.corpus.duplicates.match import RECORDS, match_bands, match_exact, match_lines, verify
from xunlian.corpus.duplicates.runs import Range, find_ranges
from xunlian.corpus.stages.signatures import bands_for
from xunlian.recipe.corpus_dedup import Deduplicate

EXACT, NEAR = "exact_duplicate", "near_duplicate"
_REASONS = (EXACT, NEAR)
_EXAMPLES = 10
_MEMBERS = 5  # of a cluster, shown in an example


class Job(NamedTuple):
    """Call it: it writes `out`. `duplicates.task_of` makes a task of it, for other processes."""

    function: Callable[..., None]
    folder: Path
    tasks: int
    out: Path
    arguments: tuple[Any, ...] = ()

    def __call__(self) -> None:
        if not self.out.exists():
            self.function(Work(self.folder, self.tasks), self.out, *self.arguments)


class Drops(NamedTuple):
    """What a task drops: rows, ascending, each with its reason and the document it is a copy of.

    similarities: 1 for exact copies. copy_of: (N, 2) int64, task and row.
    """

    rows: np.ndarray
    reasons: list[str]
    similarities: np.ndarray
    copy_of: np.ndarray


def steps(
    folder: Path, tasks: int, settings: Deduplicate, records: int = RECORDS
) -> Iterator[tuple[str, list[Job]]]:
    """(name, jobs) of one step after the other; run all jobs before you ask for the next step.

    Args:
        folder: holds the signatures of tasks 0 to `tasks` - 1 (`dedup_files.write_signatures`).
        records: how many a job may hold in memory.
    """
    folder = Path(folder)
    work = Work(folder, tasks)

    def jobs(
        name: str, function: Callable[..., None], arguments: Iterable[tuple[Any, ...]]
    ) -> tuple[str, list[Job]]:
        return name, [
            Job(function, folder, tasks, folder / f"{name}-{i:05d}.bin", one)
            for i, one in enumerate(arguments)
        ]

    def ranges(name: str) -> list[Range]:
        return find_ranges(lambda: work.keys(f"{name}_keys"), records)

    def ranges_of(step: str) -> list[Range]:
        return find_ranges(lambda: work.keys_of(step), records)

    yield "documents", [Job(_number, folder, tasks, folder / "documents.bin")]
    yield jobs("exact", match_exact, ((r,) for r in ranges("exact")))
    shape = bands_for(settings.similarity)
    if shape.bands:
        bands = [(band, r) for band in range(shape.bands) for r in ranges(f"band_{band}")]
        yield jobs("match", match_bands, bands)
        yield jobs("verify", verify, ((r, settings.similarity) for r in ranges_of("match")))
        yield jobs("cluster", cluster, [()])
        begins = range(0, work.documents, records)
        yield jobs("members", members, ((begin, begin + records) for begin in begins))
        yield jobs("choose", choose, ((r, settings.similarity) for r in ranges_of("members")))
    yield jobs("drops", _drops, ((task,) for task in range(tasks)))
    if settings.paragraphs:
        yield jobs("lines", match_lines, ((r,) for r in ranges("line")))


def find_duplicates(
    folder: Path, tasks: int, settings: Deduplicate, records: int = RECORDS
) -> None:
    """All steps here and now. What was found is read by `dropped` and `dropped_paragraphs`."""
    for _, jobs in steps(folder, tasks, settings, records):
        for job in jobs:
            job()


def dropped(folder: Path, tasks: int, task: int) -> Drops:
    """What a task drops."""
    arrays = open_arrays(Path(folder) / f"drops-{task:05d}.bin")
    bases = Work(folder, tasks).bases
    copy_of = arrays["copy_of"]
    tasks_of = np.searchsorted(bases, copy_of, side="right") - 1
    reasons = [_REASONS[reason] for reason in arrays["reasons"].tolist()]
    places = np.stack([tasks_of, copy_of - bases[tasks_of]], axis=1)
    return Drops(arrays["keys"].astype(np.int64), reasons, arrays["similarities"], places)


def dropped_paragraphs(folder: Path, tasks: int, task: int) -> dict[int, list[int]]:
    """The numbers of the lines that go, by row; for `stages.exact.without_paragraphs`."""
    work = Work(folder, tasks)
    found: dict[int, list[int]] = {}
    for path in work.files("lines"):
        arrays = work.maps(path)
        span = _span(arrays["keys"], work.bases, task)
        rows = arrays["keys"][span].astype(np.int64) - work.bases[task]
        for row, number in zip(rows.tolist(), arrays["numbers"][span].tolist(), strict=True):
            found.setdefault(row, []).append(number)
    return {row: sorted(found[row]) for row in sorted(found)}


def statistics(folder: Path, tasks: int) -> dict[str, Any]:
    """For the report: how many documents and lines were copies, and of what.

    sizes: how many clusters of near-duplicates have 2, 3 to 4, 5 to 8, ... different documents.
    examples: the largest clusters: the document that stays and some that go, as [task, row].
    """
    work = Work(folder, tasks)
    counts: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    examples: list[tuple[int, int, list[tuple[int, float]]]] = []
    for path in work.files("drops"):
        reasons = np.bincount(work.maps(path)["reasons"], minlength=2)
        counts.update(dict(zip(_REASONS, reasons.tolist(), strict=True)))
    for path in work.files("choose"):
        arrays = work.maps(path)
        order = np.argsort(arrays["copy_of"], kind="stable")
        kept, starts, members = np.unique(
            arrays["copy_of"][order], return_index=True, return_counts=True
        )
        sizes.update(np.ceil(np.log2(members + 1)).astype(int).tolist())
        for i in np.argsort(-members, kind="stable")[:_EXAMPLES].tolist():
            some = order[starts[i] : starts[i] + min(members[i], _MEMBERS)]
            pairs = zip(
                arrays["keys"][some].tolist(), arrays["similarities"][some].tolist(), strict=True
            )
            examples.append((-int(members[i]), int(kept[i]), list(pairs)))
        examples = sorted(examples)[:_EXAMPLES]
    lines = sum(len(keys) for keys in work.keys_of("lines"))

    def place(number: int) -> list[int]:
        task = int(np.searchsorted(work.bases, number, side="right")) - 1
        return [task, number - int(work.bases[task])]

    return {
        "documents": work.documents,
        "dropped": {reason: counts[reason] for reason in _REASONS},
        "paragraphs_dropped": lines,
        "sizes": {"2" if k == 1 else f"{2 ** (k - 1) + 1}-{2**k}": sizes[k] for k in sorted(sizes)},
        "examples": [
            {
                "documents": 1 - negative,
                "kept": place(kept),
                "dropped": [
                    {"document": place(number), "similarity": round(similarity, 3)}
                    for number, similarity in pairs
                ],
            }
            for negative, kept, pairs in examples
        ],
    }


def _number(work: Work, out: Path) -> None:
    counts = [len(tokens) for tokens in work.keys("tokens")]
    write_arrays(out, {"bases": np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))})


def _span(keys: np.ndarray, bases: np.ndarray, task: int) -> slice:
    low, high = np.searchsorted(keys, bases[task : task + 2].astype(np.uint64)).tolist()
    return slice(low, high)


def _drops(work: Work, out: Path, task: int) -> None:
    arrays, base = work.signatures(task), int(work.bases[task])
    copies = arrays["copies"].astype(np.int64)
    parts = [
        (copies, arrays["copies_of"].astype(np.int64) + base, np.ones(len(copies), np.float32), 0)
    ]
    for reason, step in enumerate(("exact", "choose")):
        for path in work.files(step):
            found = work.maps(path)
            span = _span(found["keys"], work.bases, task)
            rows = found["keys"][span].astype(np.int64) - base
            parts.append((rows, found["copy_of"][span], found["similarities"][span], reason))
    rows, copy_of, similarities = (
        np.concatenate(column) for column in list(zip(*parts, strict=True))[:3]
    )
    reasons = np.repeat([part[3] for part in parts], [len(part[0]) for part in parts])
    order = np.argsort(rows, kind="stable")
    write_arrays(
        out,
        {
            "keys": rows[order].astype(np.uint32),
            "reasons": reasons[order].astype(np.uint8),
            "copy_of": copy_of[order].astype(np.int64),
            "similarities": similarities[order].astype(np.float32),
        },
    )
