"""Documents out of files, in pieces of bounded length.

A document is a sequence of *pieces* `(text, last)`: the last piece has `last` set. Only a text
file has documents of more than a piece in memory terms; a record of .jsonl, .csv or .parquet is
in memory once and then cut.
"""

import csv
import json
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from xunlian.corpus.clean import is_blank
from xunlian.corpus.decode import Advance, decode, detect, read_bytes
from xunlian.corpus.sources import Source
from xunlian.errors import InputError, did_you_mean
from xunlian.recipe.settings import Corpus as CorpusSettings

PIECE = 1 << 18
"""Characters of a piece at most: large enough to keep overhead away, small enough for many."""

_BLANK_LINE = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n")
_RECORD_BYTES = 1 << 30  # a longer .jsonl line or .csv field is a broken quote, not text

Pieces = Iterator[tuple[str, bool]]


class Piece(NamedTuple):
    """A piece of a document: `first` and `last` say whether it begins and ends it."""

    text: str
    first: bool
    last: bool


class BrokenRecords:
    """Counts records that cannot be read; stops at the end of the file, or goes on."""

    def __init__(self, source: Source, on_error: str, counts: Counter[str]) -> None:
        self.source, self.on_error, self.counts = source, on_error, counts
        self.lines: list[int] = []
        self.count = 0
        self.reason = ""

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        self.counts["broken_records"] += 1
        if len(self.lines) < 5:
            self.lines.append(line)
            self.reason = self.reason or reason

    def finish(self) -> None:
        """Raises InputError with the count and the first places, unless they are to be skipped."""
        if self.count and self.on_error == "stop":
            where = ", ".join(f"{line:,}" for line in self.lines)
            raise InputError(
                f"'{self.source.name}' has {self.count:,} broken "
                f"{'line' if self.count == 1 else 'lines'} "
                f"(line {where}{', ...' if self.count > len(self.lines) else ''}; the first: "
                f"{self.reason}). Mend them, or leave them out with --on-error skip."
            )


def read_documents(
    sources: Iterable[Source], settings: CorpusSettings, counts: Counter[str], advance: Advance
) -> Iterator[Piece]:
    """All documents of all sources, in order, without the blank ones.

    Args:
        counts: what was dropped is added here: 'empty_documents', 'broken_records'.

    Raises:
        InputError: a file cannot be read.
    """
    for source in sources:
        first = True
        for text, last in _read(source, settings, counts, advance):
            if first and is_blank(text):
                counts["empty_documents"] += last
                continue
            yield Piece(text, first, last)
            first = last


def _read(
    source: Source, settings: CorpusSettings, counts: Counter[str], advance: Advance
) -> Pieces:
    if source.format == "parquet":
        return _parquet(source, settings.text_field, advance)
    blocks = read_bytes(source, advance)
    broken = BrokenRecords(source, settings.on_error, counts)
    match source.format:
        case "jsonl":
            return _jsonl(blocks, settings, broken)
        case "csv":
            return _csv(decode(blocks, source.name, settings.encoding), settings, broken)
        case _:
            text = _line_feeds(decode(blocks, source.name, settings.encoding), counts)
            return _text(text, settings.documents)


def _text(blocks: Iterator[str], documents: str) -> Pieces:
    boundary = {"file": None, "paragraph": _BLANK_LINE, "line": _LINE}[documents]
    held = ""
    for block in blocks:
        held += block
        if boundary:
            *whole, held = boundary.split(held)
            for text in whole:
                yield text.lstrip("\n"), True
        while len(held) > PIECE:
            cut = _cut(held)
            yield held[:cut], False
            held = held[cut:]
    yield held.rstrip("\n") if boundary else held, True


def _line_feeds(blocks: Iterator[str], counts: Counter[str]) -> Iterator[str]:
    """All line ends as line feeds, also where a block ends between \\r and \\n."""
    held = ""
    for block in blocks:
        text = held + block
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        if "\r" in text:
            counts["line_ends"] += text.count("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield text
    if held:
        counts["line_ends"] += 1
        yield "\n"


def _cut(text: str) -> int:
    """Where to cut without disturbing cleaning or a word: after a line, before a space."""
    for mark, after in (("\n", 1), (" ", 0)):
        place = text.rfind(mark, PIECE // 2, PIECE)
        if place > 0:
            return place + after
    cut = PIECE
    while cut > PIECE - 100 and _composes(text[cut]):
        cut -= 1
    return cut


def _composes(character: str) -> bool:
    """Whether it may join the one before it: a combining mark, or a part of a Hangul syllable."""
    return bool(unicodedata.combining(character)) or "\u1160" <= character <= "\u11ff"


def _in_pieces(text: str) -> Pieces:
    while len(text) > PIECE:
        cut = _cut(text)
        yield text[:cut], False
        text = text[cut:]
    yield text, True


def _jsonl(blocks: Iterator[bytes], settings: CorpusSettings, broken: BrokenRecords) -> Pieces:
    name, field = broken.source.name, settings.text_field
    seen = False
    for number, line in enumerate(_byte_lines(_utf8(blocks, name, settings.encoding), name), 1):
        if not line or line.isspace():
            continue
        try:
            record = _parse_json(line)
        except (ValueError, RecursionError) as error:
            broken.add(number, f"no JSON: {error}")
            continue
        if not isinstance(record, dict):
            broken.add(number, "not a JSON object")
        elif field not in record:
            if not seen:
                raise _wrong_field(name, field, list(record))
            broken.add(number, f"no field '{field}'")
        elif not isinstance(record[field], str | None):
            broken.add(number, f"field '{field}' is not text")
        else:
            seen = True
            yield from _in_pieces(record[field] or "")
    broken.finish()


def _parse_json(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        # The standard library also takes NaN and half a surrogate pair, which some writers emit.
        text = json.loads(line.decode("utf-8"))
        whole = json.dumps(text, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return json.loads(whole.decode("utf-16", "replace"))


def _utf8(blocks: Iterator[bytes], name: str, encoding: str) -> Iterator[bytes]:
    """JSON lines as UTF-8 bytes. A wrong byte in UTF-8 is left for its line to stumble over."""
    if encoding not in ("auto", "utf-8", "utf8"):
        yield from (text.encode() for text in decode(blocks, name, encoding))
        return
    first = True
    known = encoding != "auto"
    for block in blocks:
        wide = first and block.startswith((b"\xff\xfe", b"\xfe\xff"))
        if wide or (not known and not block.isascii() and detect(block) == "gb18030"):
            rest = decode(_chain(block, blocks), name, "utf-16" if wide else "gb18030")
            yield from (text.encode() for text in rest)
            return
        if b"\0" in block:
            raise InputError(f"'{name}' is a binary file, not JSON lines.")
        known = known or not block.isascii()
        yield block.removeprefix(b"\xef\xbb\xbf") if first else block
        first = False


def _chain(block: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield block
    yield from blocks


def _byte_lines(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for block in blocks:
        *whole, rest = block.split(b"\n")
        for line in whole:
            yield b"".join([*held, line]) if held else line
            held, size = [], 0
        held.append(rest)
        size += len(rest)
        if size > _RECORD_BYTES:
            raise InputError(f"'{name}' has a line of over a gigabyte: it is no .jsonl file.")
    yield b"".join(held)


def _csv(blocks: Iterator[str], settings: CorpusSettings, broken: BrokenRecords) -> Pieces:
    name, field = broken.source.name, settings.text_field
    csv.field_size_limit(_RECORD_BYTES)
    rows = csv.reader(_text_lines(blocks), strict=True)
    header: list[str] | None = None
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            broken.add(line, str(error))
            continue
        if row is None:
            break
        if header is None:
            header = [column.strip() for column in row]
            if field not in header:
                raise _wrong_field(name, field, header)
            column = header.index(field)
        elif row and len(row) != len(header):
            broken.add(line, f"{len(row)} fields, not {len(header)}")
        elif row:
            yield from _in_pieces(row[column])
    broken.finish()


def _text_lines(blocks: Iterator[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        # Not splitlines(): that also splits at characters that are text inside a field.
        *whole, held = (held + block).split("\n")
        for line in whole:
            yield line + "\n"
    if held:
        yield held


def _parquet(source: Source, field: str, advance: Advance) -> Pieces:
    if not source.compression:
        yield from _parquet_file(source.path, source.name, field, advance)
        return
    # Parquet is read from its end, so a compressed one has to be unpacked first.
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        for block in read_bytes(source, lambda _: None):
            file.write(block)
        file.flush()
        yield from _parquet_file(Path(file.name), source.name, field, lambda _: None)
    advance(source.size)


def _parquet_file(path: Path, name: str, field: str, advance: Advance) -> Pieces:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=False, buffer_size=1 << 20) as file:
            names = file.schema_arrow.names
            if field not in names:
                raise _wrong_field(name, field, names)
            kind = file.schema_arrow.field(field).type
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise InputError(
                    f"'{name}': column '{field}' holds {kind}, not text. "
                    "Name another with corpus.text_field=..."
                )
            rows = max(1, file.metadata.num_rows)
            size, told = path.stat().st_size, 0.0
            for batch in file.iter_batches(batch_size=256, columns=[field], use_threads=False):
                told += size * len(batch) / rows
                advance(int(told))
                told -= int(told)
                for text in batch.column(0).to_pylist():
                    yield from _in_pieces(text or "")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"'{name}' is damaged or no Parquet file ({reason}). Get the file again."
        ) from error


def _wrong_field(name: str, field: str, fields: list[str]) -> InputError:
    return InputError(
        f"'{name}' has no field '{field}'.{did_you_mean(field, fields)} It has: "
        f"{', '.join(fields)}. Name one with corpus.text_field=..."
    )
