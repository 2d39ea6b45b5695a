"""Fields out of the rows of .parquet and .arrow (.feather) files, read in batches of rows.

A small file of either may hold gigabytes: in pages that pack well, or in rows that all name one
huge value (of a dictionary, or a view). What a Parquet file says of its columns is checked before
anything is unpacked, a batch has fewer rows where the dictionary is large, and values that rows may
share become Python texts one at a time. What rows of fields amount to is watched by who takes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from xunlian.corpus.reading.records import Fields, Rows, check_fields
from xunlian.corpus.reading.trouble import LIMITS, Advance, Limits
from xunlian.corpus.reading.unpack import Expansion
from xunlian.errors import InputError

_ROWS = 256  # made into Python texts at once
ROW = 16
"""Bytes for which a row counts beside its text: billions of empty rows are a bomb, too."""
_BATCH = 1 << 28  # bytes that the rows of a batch may take when each has the largest value there is


def read_parquet(
    file: IO[bytes],
    name: str,
    fields: Fields,
    advance: Advance,
    size: int = 0,
    groups: tuple[int, int] | None = None,
    lists: bool = False,
    limits: Limits = LIMITS,
) -> Rows:
    """Columns of each row.

    Args:
        size: bytes of the file, told to `advance` as the rows are read.
        groups: the first of the row groups to read, and the one behind the last.
        lists: a column may hold lists of texts.

    Raises:
        InputError: damaged, no Parquet, or without such columns; a dictionary is too large.
        Unsound: a bomb.
    """
    import pyarrow.parquet as pq

    with (
        _damage(name, "Parquet"),
        pq.ParquetFile(file, memory_map=False, buffer_size=1 << 20) as table,
    ):
        _check_types(name, fields, table.schema_arrow, lists)
        wanted = list(fields.values())
        rows, told = max(1, table.metadata.num_rows), 0.0
        chosen = range(*(groups or (0, table.num_row_groups)))
        chunks = list(_chunks(table.metadata, chosen, wanted))
        for batch in table.iter_batches(
            batch_size=_batch_rows(file, name, chunks, limits),
            columns=wanted,
            row_groups=list(chosen),
            use_threads=False,
        ):
            told += size * len(batch) / rows
            advance(int(told))
            told -= int(told)
            yield from _rows(batch, wanted)


def _batch_rows(file: IO[bytes], name: str, chunks: Sequence[Any], limits: Limits) -> int:
    """How many rows may be unpacked at once.

    Raises:
        InputError: a dictionary is too large.
        Unsound: a bomb.
    """
    expansion = Expansion(name, limits, packed=sum(c.total_compressed_size for c in chunks))
    expansion.add(sum(c.total_uncompressed_size + ROW * c.num_values for c in chunks))
    largest = max((_dictionary_bytes(file, chunk) for chunk in chunks), default=0)
    if largest > limits.whole:
        raise InputError(
            f"'{name}' has a dictionary of {largest:,} bytes, too many for the values of one "
            "column. Write it without dictionaries."
        )
    return max(1, min(_ROWS, _BATCH // max(1, largest)))


def _chunks(metadata: Any, groups: Iterable[int], wanted: Sequence[str]) -> Iterator[Any]:
    """What the file says of each column chunk that is to be read."""
    for number in groups:
        group = metadata.row_group(number)
        for i in range(group.num_columns):
            column = group.column(i)
            path = column.path_in_schema
            if any(path == name or path.startswith(f"{name}.") for name in wanted):
                yield column


def _dictionary_bytes(file: IO[bytes], chunk: Any) -> int:
    """The unpacked size of a chunk's dictionary, which is its first page; 0 without one.

    That is what the page's own header says and the reader goes by: a structure of Thrift's compact
    protocol that begins with the page's type and its unpacked size.
    (https://parquet.apache.org/docs/file-format/data-pages)
    """
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    file.seek(min(start for start in starts if start))
    head = file.read(16)
    kind, at = _number(head, 0)
    return _number(head, at)[0] if kind == _DICTIONARY_PAGE else 0


_DICTIONARY_PAGE = 2
_THRIFT_NUMBER = 0x15  # the field after the last one, an i32


def _number(data: bytes, at: int) -> tuple[int, int]:
    """(the 32-bit number in the field that begins at `at`, where the next one begins)."""
    if data[at : at + 1] != bytes([_THRIFT_NUMBER]):
        return -1, at
    value = 0
    for i, byte in enumerate(data[at + 1 : at + 6]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), at + 2 + i
    return -1, at


def read_records(
    file: IO[bytes], name: str, advance: Advance, size: int = 0, limits: Limits = LIMITS
) -> Iterator[Any]:
    """Each row whole, as an object of all its columns.

    Args:
        size: bytes of the file, told to `advance` as the rows are read.

    Raises:
        InputError: damaged or no Parquet; a dictionary is too large.
        Unsound: a bomb.
    """
    import pyarrow.parquet as pq

    with (
        _damage(name, "Parquet"),
        pq.ParquetFile(file, memory_map=False, buffer_size=1 << 20) as table,
    ):
        rows = max(1, table.metadata.num_rows)
        groups, columns = range(table.num_row_groups), table.schema_arrow.names
        chunks = list(_chunks(table.metadata, groups, columns))
        at_once = _batch_rows(file, name, chunks, limits)
        expansion = Expansion(name, limits, packed=file.seek(0, 2))
        for batch in table.iter_batches(batch_size=at_once, use_threads=False):
            expansion.add(batch.nbytes + ROW * len(batch))
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
    columns = [_values(_column(batch, field)) for field in wanted]
    for texts in zip(*columns, strict=True):
        yield [
            ([one or "" for one in text] if isinstance(text, list) else text) or ""
            for text in texts
        ]


def _values(column: Any) -> Iterable[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type) or pa.types.is_string_view(column.type):
        return (value.as_py() for value in column)
    values: list[Any] = column.to_pylist()
    return values


@contextmanager
def _damage(name: str, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
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
