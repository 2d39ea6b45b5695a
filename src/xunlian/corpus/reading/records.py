"""Fields out of the records of .jsonl, .csv and .tsv: one for text, two for pairs.

A record is in memory once. A field inside another is named with a dot, such as 'translation.en'.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from xunlian.corpus.reading.decode import Replaced, chain, check_encoding, decode, recognise_at
from xunlian.corpus.reading.lines import split_lines
from xunlian.corpus.reading.trouble import LIMITS, BrokenRecords
from xunlian.errors import InputError, did_you_mean

Fields = Mapping[str, str]
"""A setting that names a field -> the field's name, such as {'text_field': 'text'}."""
Rows = Iterator[Sequence[Any]]
"""The texts of the fields of each record, in the order of `Fields`; lists of texts, if allowed."""


def read_jsonl(
    blocks: Iterator[bytes],
    fields: Fields,
    encoding: str,
    broken: BrokenRecords,
    lists: bool = False,
    replaced: Replaced | None = None,
    before: int = 0,
    limit: int = LIMITS.record,
) -> Rows:
    """Fields of each line's object. A null is an empty text.

    Args:
        lists: a field may hold several texts.
        replaced, before: as `decode` has them; a wrong byte in UTF-8 breaks only its line.
        limit: bytes of a line.
    """
    name, wanted = broken.name, list(fields.values())
    nested = any("." in field for field in wanted)
    seen = before > 0  # else a part could stop at what the whole file only counts
    utf8 = _utf8(blocks, name, encoding, replaced, before)
    for number, line in enumerate(split_lines(utf8, b"\n", limit), 1):
        if line is None:
            broken.add(number, f"longer than {limit:,} bytes")
            continue
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
            try:
                record = _flat(record)
            except RecursionError:
                broken.add(number, "objects in objects by the hundred")
                continue
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


def _utf8(
    blocks: Iterator[bytes], name: str, encoding: str, replaced: Replaced | None, before: int
) -> Iterator[bytes]:
    """JSON lines as UTF-8 bytes. A wrong byte in UTF-8 is left for its line to stumble over."""
    known = "" if encoding == "auto" else encoding
    for block in blocks:
        known = known or recognise_at(block, before, name, replaced is not None, "utf-8") or ""
        if known and check_encoding(known) != "utf-8-sig":
            rest = decode(chain(block, blocks), name, known, replaced, before)
            yield from (text.encode() for text in rest)
            return
        if b"\0" in block:
            raise InputError(f"'{name}' is a binary file, not JSON lines.")
        yield block if before else block.removeprefix(b"\xef\xbb\xbf")
        before += len(block)


def read_csv(
    blocks: Iterator[str], fields: Fields, broken: BrokenRecords, limit: int = LIMITS.record
) -> Rows:
    """Columns of each row; the first row names them."""
    header: list[str] | None = None
    for line, row in csv_rows(blocks, broken, limit):
        if header is None:
            header = [column.strip() for column in row]
            check_fields(broken.name, fields, header)
            columns = [header.index(field) for field in fields.values()]
        elif row and len(row) != len(header):
            broken.add(line, f"{len(row)} fields, not {len(header)}")
        elif row:
            yield [row[column] for column in columns]
    broken.finish()


def csv_rows(
    blocks: Iterator[str], broken: BrokenRecords, limit: int = LIMITS.record, **dialect: Any
) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it begins, the fields) of each row that can be read.

    Args:
        broken: told of the others; the caller finishes it.
        dialect: as in `csv.reader`.
    """
    csv.field_size_limit(limit)
    lines = _Lines(blocks, limit)
    rows = csv.reader(lines, strict=True, **dialect)
    while True:
        line = lines.number + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            broken.add(line, str(error))
            for lost in range(line + 1, lines.number + 1):
                broken.add(lost, f"inside the quotes of line {line:,}")
            continue
        if row is None:
            return
        yield line, row


class _Lines:
    """Lines with their ends; one that is too long is a `csv.Error`, and the next one goes on."""

    def __init__(self, blocks: Iterator[str], limit: int) -> None:
        self._lines, self._limit = split_lines(blocks, "\n", limit), limit
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if line is None:
            raise csv.Error(f"longer than {self._limit:,} characters")
        return line + "\n"


def read_tsv(
    blocks: Iterator[str],
    fields: Fields,
    broken: BrokenRecords,
    limit: int = LIMITS.record,
    head: str | None = None,
) -> Rows:
    """Columns of each line, without any quoting.

    They are found by the names in the first line, by numbers from 1, or, when the first line has
    none of these names and they are the usual ones, as the first columns.

    Args:
        head: the first line of the file, when `blocks` begin behind it.
    """
    name = broken.name
    columns: list[int] | None = None
    width = 0
    if head is not None:
        cells = _cells(head)
        width, columns = len(cells), _tsv_columns(name, fields, cells)[0]
    for number, line in enumerate(split_lines(blocks, "\n", limit), 1):
        if line is None:
            broken.add(number, f"longer than {limit:,} characters")
            continue
        cells = line.rstrip("\r\n").split("\t")
        if cells == [""]:
            continue
        if columns is None:
            width = len(cells)
            columns, named = _tsv_columns(name, fields, _cells(line))
            if named:
                continue
        if len(cells) == width:
            yield [cells[column] for column in columns]
        else:
            broken.add(number, f"{len(cells)} columns, not {width}")
    broken.finish()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip("\r\n").split("\t")]


def _tsv_columns(name: str, fields: Fields, first: list[str]) -> tuple[list[int], bool]:
    """(where the fields are, whether the first line holds names)."""
    wanted = list(fields.values())
    if all(field in first for field in wanted):
        return [first.index(field) for field in wanted], True
    usual = wanted == [setting.removesuffix("_field") for setting in fields]
    if len(wanted) == 1 and len(first) > 1:
        usual = False  # which of several columns has the text must not be guessed
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
