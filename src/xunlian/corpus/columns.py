"""What a stage made of the documents of one chunk: a file of columns, row by row as they were read.

    WORK/read/00007-0002.arrow       id, text, first, ...        what chunk 2 of source 7 holds
    WORK/quality/00007-0002.arrow    text, dropped, ...          of the same rows: what changed

A stage writes only what it changes: `text` is null where it left the text alone, `dropped` has
the reason for which a row is left out from here on. So a row keeps its number all the way, any
stage can be done again from what the stages before it left, and the cost of keeping all of them
is little more than that of one copy. Files are Arrow streams of bounded batches, compressed.

Beside each stands a marker, `00007-0002.json`, written last: the key of what it was made from, and
the stage's counts. A file without its marker, or with another key, does not count.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xunlian.corpus.pieces import Piece
from xunlian.errors import InputError
from xunlian.files import atomic_write, read_json, write_json

Columns = dict[str, list[Any]]

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
READ = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("first", pa.bool_()),
        ("last", pa.bool_()),
        ("kind", pa.string()),
    ]
)
CHANGES = pa.schema([("text", pa.large_string()), ("dropped", pa.string())])


def data_path(work: Path, stage: str, chunk: str) -> Path:
    return work / stage / f"{chunk}.arrow"


def marker_path(work: Path, stage: str, chunk: str) -> Path:
    return work / stage / f"{chunk}.json"


def is_done(work: Path, stage: str, chunk: str, key: str) -> bool:
    """Whether the stage's file of this chunk is there and was made from what `key` stands for."""
    marker = marker_path(work, stage, chunk)
    try:
        return read_json(marker)["key"] == key
    except (InputError, KeyError, TypeError):
        return False


def begin(work: Path, stage: str, chunk: str) -> None:
    """Before files are written anew: the marker of the old ones goes, whatever its key."""
    marker_path(work, stage, chunk).unlink(missing_ok=True)


def mark_done(work: Path, stage: str, chunk: str, key: str, counts: dict[str, Any]) -> None:
    write_json(marker_path(work, stage, chunk), {"key": key, **counts})


class ColumnWriter:
    """Writes one stage's file, batch by batch; it appears when the block ends well."""

    def __init__(self, work: Path, stage: str, chunk: str, schema: pa.Schema) -> None:
        begin(work, stage, chunk)
        self.schema = schema
        self._files = ExitStack()
        file = self._files.enter_context(atomic_write(data_path(work, stage, chunk)))
        self._writer = self._files.enter_context(pa.ipc.new_stream(file, schema, options=_OPTIONS))

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def write(self, columns: Columns) -> None:
        nothing = [None] * len(columns["text"])  # a note that no row of a batch has
        arrays = [pa.array(columns.get(field.name, nothing), field.type) for field in self.schema]
        self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))


def read_columns(work: Path, stage: str, chunk: str) -> Iterator[Columns]:
    """The batches of one stage's file."""
    for batch in _batches(work, stage, chunk):
        yield batch.to_pydict()


def read_rows(work: Path, stages: Sequence[str], chunk: str) -> Iterator[Columns]:
    """Batches as the last of `stages` left them: the columns of `READ`, `text` None where dropped,
    and whatever else the stages noted. The first of `stages` is 'read'."""
    for read, *changes in zip(*(_batches(work, stage, chunk) for stage in stages), strict=True):
        rows = dict(zip(read.schema.names, read.columns, strict=True))
        for change in changes:
            rows |= dict(zip(change.schema.names, change.columns, strict=True))
        # Only the texts that are left are made strings of Python, and once.
        rows["text"] = read["text"]
        for change in changes:
            rows["text"] = _changed(rows["text"], change["text"], change["dropped"])
        rows.pop("dropped", None)
        yield {name: column.to_pylist() for name, column in rows.items()}


def _changed(old: pa.Array, new: pa.Array, dropped: pa.Array) -> pa.Array:
    texts = old if new.null_count == len(new) else pc.coalesce(new, old)
    if dropped.null_count == len(dropped):
        return texts
    return pc.if_else(dropped.is_null(), texts, pa.scalar(None, texts.type))


def _batches(work: Path, stage: str, chunk: str) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(data_path(work, stage, chunk))) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def apply(rows: Columns, change: Columns) -> Columns:
    """The rows after a stage's change."""
    texts = [
        None if gone is not None else old if new is None else new
        for old, new, gone in zip(rows["text"], change["text"], change["dropped"], strict=True)
    ]
    notes = {name: column for name, column in change.items() if name not in ("text", "dropped")}
    return rows | notes | {"text": texts}


def surviving(batches: Iterator[Columns]) -> Iterator[tuple[dict[str, Any], Piece]]:
    """What is left: (the row's other columns, its piece). Where pieces of a document are gone from
    its middle, what follows begins a document of its own."""
    held: tuple[dict[str, Any], Piece] | None = None
    broken = False
    for rows in batches:
        names = [name for name in rows if name not in ("text", "first", "last")]
        for i, text in enumerate(rows["text"]):
            first, last = rows["first"][i], rows["last"][i]
            if text is None:
                if held:
                    yield held[0], held[1]._replace(last=True)
                    held = None
                broken = not last
                continue
            if held:
                yield held
            held = {name: rows[name][i] for name in names}, Piece(text, first or broken, last)
            broken = False
    if held:
        yield held
