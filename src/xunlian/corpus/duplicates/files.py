"""The files that deduplication works on: signatures in, and where each document is found.

A document's *number* counts through all tasks in their order; its *row* counts within its task.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from xunlian.corpus.duplicates.arrays import Arrays, ArraysWriter, writing
from xunlian.corpus.duplicates.runs import Columns, Maps, Run
from xunlian.corpus.stages.signatures import Bands, Signatures, bands_for, sign
from xunlian.recipe.corpus_dedup import Deduplicate


def signature_file(folder: Path, task: int) -> Path:
    return Path(folder) / f"signatures-{task:05d}.bin"


def write_signatures(
    batches: Iterable[Sequence[str]], folder: Path, task: int, settings: Deduplicate
) -> None:
    """Sign all texts of one task; the file appears when it is whole.

    A text that comes in pieces is as many documents.
    """
    with signing(folder, task, settings) as signer:
        for batch in batches:
            signer.add(batch)


@contextmanager
def signing(folder: Path, task: int, settings: Deduplicate) -> Iterator["Signer"]:
    """The same, batch by batch: `signer.add(texts)`."""
    with writing(signature_file(folder, task)) as writer:
        signer = Signer(writer, bands_for(settings.similarity), settings.paragraphs)
        yield signer
        signer.finish()


class Signer:
    """Keeps 200 bytes or so of a text until the end; the sketches are written at once."""

    def __init__(self, writer: ArraysWriter, shape: Bands, paragraph_length: int) -> None:
        self._writer, self._shape, self._paragraph_length = writer, shape, paragraph_length
        self._parts: list[Signatures] = []
        self._rows = 0
        self.add([])

    def add(self, texts: Sequence[str]) -> None:
        signed = sign(texts, self._shape, self._paragraph_length)
        self._writer.add("sketches", signed.sketches)
        signed.paragraphs.rows[:] += np.uint32(self._rows)
        self._parts.append(signed._replace(sketches=signed.sketches[:0]))
        self._rows += len(texts)

    def finish(self) -> None:
        add = self._writer.add
        exact = np.concatenate([part.exact for part in self._parts])
        sizes = np.concatenate([part.sketch_sizes for part in self._parts])
        add("tokens", np.concatenate([part.tokens for part in self._parts]))
        add("exact", exact)
        add("sketch_sizes", sizes)
        add("sketch_ends", np.cumsum(sizes, dtype=np.int64))
        copies, copies_of, order = _copies(exact)
        add("copies", copies.astype(np.uint32))
        add("copies_of", copies_of.astype(np.uint32))
        # Copies within the task are settled, so no text can come in masses from here.
        add("exact_keys", exact[order, 0])
        add("exact_rows", order.astype(np.uint32))
        rows = np.sort(order)
        rows = rows[sizes[rows] > 0]
        for band in range(self._shape.bands):
            keys = np.concatenate([part.bands[:, band] for part in self._parts])[rows]
            by_key = np.argsort(keys, kind="stable")
            add(f"band_{band}_keys", keys[by_key])
            add(f"band_{band}_rows", rows[by_key].astype(np.uint32))
        lines = [part.paragraphs for part in self._parts]
        hashes, rows, numbers = (np.concatenate(column) for column in zip(*lines, strict=True))
        by_hash = np.argsort(hashes, kind="stable")
        add("line_keys", hashes[by_hash])
        add("line_rows", rows[by_hash])
        add("line_numbers", numbers[by_hash])


def _copies(exact: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are copies, the first of their equals, and all others by their hash."""
    order = np.lexsort((np.arange(len(exact)), exact[:, 1], exact[:, 0]))
    ordered = exact[order]
    same = np.zeros(len(order), bool)
    same[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    firsts = order[~same][np.cumsum(~same) - 1]
    return order[same], firsts[same], order[~same]


def _sliced(columns: list[np.ndarray]) -> Columns:
    return lambda span: [column[span] for column in columns]


def _numbered(rows: np.ndarray, base: int) -> Columns:
    return lambda span: [rows[span].astype(np.int64) + base]


def _lines(numbers: np.ndarray, arrays: Arrays) -> Columns:
    rows, lines = arrays["line_rows"], arrays["line_numbers"]
    return lambda span: [numbers[rows[span]], lines[span]]


class Work:
    """Signatures of all tasks, and the files of the steps that are done."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.folder = Path(folder)
        self.tasks = tasks
        self.maps = Maps()

    @cached_property
    def bases(self) -> np.ndarray:
        """(tasks + 1,) int64: the number of each task's first document."""
        return self.maps(self.folder / "documents.bin")["bases"]

    @property
    def documents(self) -> int:
        return int(self.bases[-1])

    def signatures(self, task: int) -> Arrays:
        return self.maps(signature_file(self.folder, task))

    def files(self, step: str) -> list[Path]:
        return sorted(self.folder.glob(f"{step}-*.bin"))

    def keys(self, name: str) -> Iterator[np.ndarray]:
        """Of the runs in the signature files."""
        for task in range(self.tasks):
            yield self.signatures(task)[name]
            self.maps.let_go(signature_file(self.folder, task))

    def keys_of(self, step: str) -> Iterator[np.ndarray]:
        """Of the runs that a step wrote."""
        for path in self.files(step):
            yield self.maps(path)["keys"]
            self.maps.let_go(path)

    def runs(self, name: str) -> Iterator[Run]:
        """NAME_keys of each task, with the documents' numbers."""
        for task in range(self.tasks):
            arrays, base = self.signatures(task), int(self.bases[task])
            rows = arrays[f"{name}_rows"]
            yield arrays[f"{name}_keys"], _numbered(rows, base)

    def runs_of(self, step: str) -> Iterator[Run]:
        for path in self.files(step):
            arrays = self.maps(path)
            columns = [array for name, array in arrays.items() if name != "keys"]
            yield arrays["keys"], _sliced(columns)

    def line_runs(self) -> Iterator[Run]:
        """Long lines of each task: the document (-1 when it is dropped) and the line's number."""
        for task in range(self.tasks):
            arrays, base = self.signatures(task), int(self.bases[task])
            numbers = np.arange(base, int(self.bases[task + 1]))
            numbers[self.maps(self.folder / f"drops-{task:05d}.bin")["keys"]] = -1
            yield arrays["line_keys"], _lines(numbers, arrays)

    def _by_task(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(task, places in `numbers`, rows), for each task that is met."""
        if not len(numbers):
            return
        tasks = np.searchsorted(self.bases, numbers, side="right") - 1
        order = np.argsort(tasks, kind="stable")
        present, starts = np.unique(tasks[order], return_index=True)
        if not len(present):
            return  # np.split would still give one part
        for task, places in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            yield task, places, numbers[places] - int(self.bases[task])
            self.maps.let_go(signature_file(self.folder, task))

    def look_up(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """A column of the signatures, for these documents."""
        result = np.zeros((len(numbers), *self.signatures(0)[name].shape[1:]), np.uint64)
        for task, places, rows in self._by_task(numbers):
            result[places] = self.signatures(task)[name][rows]
        return result

    def sketches(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of these documents, one after the other, and their sizes."""
        sizes = self.look_up("sketch_sizes", numbers).astype(np.int64)
        firsts = np.cumsum(sizes) - sizes
        result = np.zeros(int(sizes.sum()), np.uint32)
        for task, places, rows in self._by_task(numbers):
            arrays = self.signatures(task)
            size = sizes[places]
            offset = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            source = np.repeat(arrays["sketch_ends"][rows] - size, size) + offset
            result[np.repeat(firsts[places], size) + offset] = arrays["sketches"][source]
        return result, sizes
