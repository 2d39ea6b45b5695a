"""Fields out of the rows of .parquet files, read in batches of rows."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xunlian.corpus.decode import Advance, read_bytes
from xunlian.corpus.records import Fields, Rows, check_fields
from xunlian.corpus.sources import Source
from xunlian.errors import InputError


def read_parquet(source: Source, fields: Fields, advance: Advance, lists: bool = False) -> Rows:
    """Columns of each row. `lists`: a column may hold lists of texts."""
    if not source.compression:
        yield from _parquet_file(source.path, source.name, fields, advance, lists)
        return
    # Parquet is read from its end, so a compressed one has to be unpacked first.
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        for block in read_bytes(source, lambda _: None):
            file.write(block)
        file.flush()
        yield from _parquet_file(Path(file.name), source.name, fields, lambda _: None, lists)
    advance(source.size)


def _parquet_file(path: Path, name: str, fields: Fields, advance: Advance, lists: bool) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=False, buffer_size=1 << 20) as file:
            kinds = dict(_parquet_fields(file.schema_arrow))
            check_fields(name, fields, list(kinds))
            wanted = list(fields.values())
            for setting, field in fields.items():
                kind = kinds[field]
                if lists and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
                    kind = kind.value_type
                if pa.types.is_dictionary(kind):
                    kind = kind.value_type
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise InputError(
                        f"'{name}': column '{field}' holds {kind}, not text. "
                        f"Name another with corpus.{setting}=..."
                    )
            rows = max(1, file.metadata.num_rows)
            size, told = path.stat().st_size, 0.0
            for batch in file.iter_batches(batch_size=256, columns=wanted, use_threads=False):
                told += size * len(batch) / rows
                advance(int(told))
                told -= int(told)
                columns = [_parquet_column(batch, field).to_pylist() for field in wanted]
                for texts in zip(*columns, strict=True):
                    yield [text or "" for text in texts]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"'{name}' is damaged or no Parquet file ({reason}). Get the file again."
        ) from error


def _parquet_fields(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, type) of each column, those inside others by their dotted names too."""
    import pyarrow as pa

    for field in schema:
        yield prefix + field.name, field.type
        if pa.types.is_struct(field.type):
            yield from _parquet_fields(field.type, f"{prefix}{field.name}.")


def _parquet_column(batch: Any, name: str) -> Any:
    import pyarrow.compute as pc

    if name in batch.schema.names:
        return batch.column(name)
    top, *inner = name.split(".")
    return pc.struct_field(batch.column(top), inner)
