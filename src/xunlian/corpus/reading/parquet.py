"""Fields out of the rows of .parquet and .arrow (.feather) files, read in batches of rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from xunlian.corpus.reading.records import Fields, Rows, check_fields
from xunlian.corpus.reading.trouble import Advance
from xunlian.errors import InputError

_ROWS = 256  # made into Python texts at once


def read_parquet(
    file: IO[bytes],
    name: str,
    fields: Fields,
    advance: Advance,
    size: int = 0,
    groups: tuple[int, int] | None = None,
    lists: bool = False,
) -> Rows:
    """Columns of each row.

    Args:
        size: bytes of the file, told to `advance` as the rows are read.
        groups: the first of the row groups to read, and the one behind the last.
        lists: a column may hold lists of texts.
    """
    import pyarrow.parquet as pq

    with (
        _damage(name, "Parquet"),
        pq.ParquetFile(file, memory_map=False, buffer_size=1 << 20) as table,
    ):
        _check_types(name, fields, table.schema_arrow, lists)
        wanted = list(fields.values())
        rows, told = max(1, table.metadata.num_rows), 0.0
        for batch in table.iter_batches(
            batch_size=_ROWS,
            columns=wanted,
            row_groups=None if groups is None else list(range(*groups)),
            use_threads=False,
        ):
            told += size * len(batch) / rows
            advance(int(told))
            told -= int(told)
            yield from _rows(batch, wanted)


def read_records(file: IO[bytes], name: str, advance: Advance, size: int = 0) -> Iterator[Any]:
    """Each row whole, as an object of all its columns.

    Args:
        size: bytes of the file, told to `advance` as the rows are read.
    """
    import pyarrow.parquet as pq

    with (
        _damage(name, "Parquet"),
        pq.ParquetFile(file, memory_map=False, buffer_size=1 << 20) as table,
    ):
        rows = max(1, table.metadata.num_rows)
        for batch in table.iter_batches(batch_size=_ROWS, use_threads=False):
            advance(size * len(batch) // rows)
            yield from batch.to_pylist()


def row_groups(file: IO[bytes], name: str) -> list[tuple[int, int]]:
    """(bytes, rows) of each row group, unpacked.

    Raises:
        InputError: no Parquet file.
    """
    import pyarrow.parquet as pq

    with _damage(name, "Parquet"), pq.ParquetFile(file, memory_map=False) as table:
        groups = [table.metadata.row_group(i) for i in range(table.num_row_groups)]
        return [(group.total_byte_size, group.num_rows) for group in groups]


def read_arrow(
    file: IO[bytes],
    name: str,
    fields: Fields,
    advance: Advance,
    size: int = 0,
    batches: tuple[int, int] | None = None,
) -> Rows:
    """As `read_parquet`, of the Arrow IPC format: files (with record batches from one number to
    another) and streams."""
    with _damage(name, "Arrow"):
        table, is_file = _open_arrow(file)
        _check_types(name, fields, table.schema, lists=False)
        wanted = list(fields.values())
        if is_file:
            first, last = batches or (0, table.num_record_batches)
            whole = max(1, table.num_record_batches)
            for number in range(first, last):
                yield from _slices(table.get_batch(number), wanted)
                advance(size * (number + 1) // whole - size * number // whole)
        else:
            for batch in table:
                yield from _slices(batch, wanted)
            advance(size)


def arrow_batches(file: IO[bytes], name: str) -> int:
    """How many record batches there are; 1 in a stream, which is only read from its begin."""
    with _damage(name, "Arrow"):
        table, is_file = _open_arrow(file)
        return table.num_record_batches if is_file else 1


def _open_arrow(file: IO[bytes]) -> tuple[Any, bool]:
    import pyarrow as pa

    start = file.read(6)
    file.seek(0)
    if start == b"ARROW1":
        return pa.ipc.open_file(file), True
    if start.startswith(b"FEA1"):
        raise pa.ArrowInvalid("Feather of version 1")
    return pa.ipc.open_stream(file), False


def _slices(batch: Any, wanted: list[str]) -> Rows:
    for first in range(0, batch.num_rows, _ROWS):
        yield from _rows(batch.slice(first, _ROWS), wanted)


def _rows(batch: Any, wanted: list[str]) -> Rows:
    columns = [_column(batch, field).to_pylist() for field in wanted]
    for texts in zip(*columns, strict=True):
        yield [text or "" for text in texts]


@contextmanager
def _damage(name: str, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"'{name}' is damaged or no {kind} file ({reason}). Get the file again."
        ) from error


def _check_types(name: str, fields: Fields, schema: Any, lists: bool) -> None:
    """Raises InputError when a field is missing or holds no text."""
    import pyarrow as pa

    kinds = dict(_fields(schema))
    check_fields(name, fields, list(kinds))
    for setting, field in fields.items():
        kind = kinds[field]
        if lists and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            kind = kind.value_type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        ):
            raise InputError(
                f"'{name}': column '{field}' holds {kind}, not text. "
                f"Name another with corpus.{setting}=..."
            )


def _fields(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, type) of each column, those inside others by their dotted names too."""
    import pyarrow as pa

    for field in schema:
        yield prefix + field.name, field.type
        if pa.types.is_struct(field.type):
            yield from _fields(field.type, f"{prefix}{field.name}.")


def _column(batch: Any, name: str) -> Any:
    import pyarrow.compute as pc

    if name in batch.schema.names:
        return batch.column(name)
    top, *inner = name.split(".")
    return pc.struct_field(batch.column(top), inner)
