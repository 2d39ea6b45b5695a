"""Fields out of the records of .jsonl, .csv and .tsv: one for text, two for pairs.

A record is in memory once. A field inside another is named with a dot, such as 'translation.en'.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from xunlian.corpus.decode import decode, detect
from xunlian.corpus.sources import Source
from xunlian.errors import InputError, did_you_mean

_RECORD_BYTES = 1 << 30  # a longer line or field is a broken quote, not text

Fields = Mapping[str, str]
"""A setting that names a field -> the field's name, such as {'text_field': 'text'}."""
Rows = Iterator[Sequence[Any]]
"""The texts of the fields of each record, in the order of `Fields`; lists of texts, if allowed."""


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


def read_jsonl(
    blocks: Iterator[bytes],
    fields: Fields,
    encoding: str,
    broken: BrokenRecords,
    lists: bool = False,
) -> Rows:
    """Fields of each line's object. A null is an empty text. `lists`: a field may hold several."""
    name, wanted = broken.source.name, list(fields.values())
    nested = any("." in field for field in wanted)
    seen = False
    for number, line in enumerate(_byte_lines(_utf8(blocks, name, encoding), name), 1):
        if not line or line.isspace():
            continue
        try:
            record = _parse_json(line)
        except (ValueError, RecursionError) as error:
            broken.add(number, f"no JSON: {error}")
            continue
        if not isinstance(record, dict):
            broken.add(number, "not a JSON object")
            continue
        if nested:
            record = _flat(record)
        if missing := [field for field in wanted if field not in record]:
            if not seen:
                check_fields(name, fields, list(_flat(record)))
            broken.add(number, f"no field '{missing[0]}'")
        elif wrong := [field for field in wanted if not _is_text(record[field], lists)]:
            broken.add(number, f"field '{wrong[0]}' is not text")
        else:
            seen = True
            yield [record[field] or "" for field in wanted]
    broken.finish()


def _is_text(value: Any, lists: bool) -> bool:
    if lists and isinstance(value, list):
        return all(isinstance(text, str) for text in value)
    return isinstance(value, str | None)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of an object, those of the objects in it by their dotted names too."""
    flat = {prefix + key: value for key, value in record.items()}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
    return flat


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


def read_csv(blocks: Iterator[str], fields: Fields, broken: BrokenRecords) -> Rows:
    """Columns of each row; the first row names them."""
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
            check_fields(broken.source.name, fields, header)
            columns = [header.index(field) for field in fields.values()]
        elif row and len(row) != len(header):
            broken.add(line, f"{len(row)} fields, not {len(header)}")
        elif row:
            yield [row[column] for column in columns]
    broken.finish()


def read_tsv(blocks: Iterator[str], fields: Fields, broken: BrokenRecords) -> Rows:
    """Columns of each line, without any quoting.

    They are found by the names in the first line, by numbers from 1, or, when the first line has
    none of these names and they are the usual ones, as the first columns.
    """
    name = broken.source.name
    columns: list[int] | None = None
    width = 0
    for number, line in enumerate(_text_lines(blocks), 1):
        cells = line.rstrip("\r\n").split("\t")
        if cells == [""]:
            continue
        if columns is None:
            width = len(cells)
            columns, named = _tsv_columns(name, fields, [cell.strip() for cell in cells])
            if named:
                continue
        if len(cells) == width:
            yield [cells[column] for column in columns]
        else:
            broken.add(number, f"{len(cells)} columns, not {width}")
    broken.finish()


def _tsv_columns(name: str, fields: Fields, first: list[str]) -> tuple[list[int], bool]:
    """(where the fields are, whether the first line holds names)."""
    wanted = list(fields.values())
    if all(field in first for field in wanted):
        return [first.index(field) for field in wanted], True
    usual = wanted == [setting.removesuffix("_field") for setting in fields]
    numbers = [str(i + 1) for i in range(len(wanted))] if usual else wanted
    if not all(number.isdecimal() for number in numbers):
        check_fields(name, fields, first)
    columns = [int(number) - 1 for number in numbers]
    if min(columns) < 0 or max(columns) >= len(first):
        raise InputError(
            f"'{name}' has {len(first)} {'column' if len(first) == 1 else 'columns'} in its first "
            f"line, so no column {min(numbers) if min(columns) < 0 else max(columns) + 1}. Columns "
            f"are divided by tabs; {_settings(fields)} name them, by number from 1."
        )
    return columns, False


def _text_lines(blocks: Iterator[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        # Not splitlines(): that also splits at characters that are text inside a field.
        *whole, held = (held + block).split("\n")
        for line in whole:
            yield line + "\n"
    if held:
        yield held


def check_fields(name: str, fields: Fields, has: Sequence[str]) -> None:
    """Raises InputError when a field is not among those that the file `has`."""
    for setting, field in fields.items():
        if field not in has:
            raise InputError(
                f"'{name}' has no field '{field}'.{did_you_mean(field, has)} It has: "
                f"{', '.join(has)}. Name one with corpus.{setting}=..."
            )


def _settings(fields: Fields) -> str:
    return " and ".join(f"corpus.{setting}" for setting in fields)
