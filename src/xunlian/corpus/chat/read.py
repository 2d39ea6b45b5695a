"""Records out of files of conversations, one at a time: .json, .jsonl, .parquet, .csv and .tsv.

A .json file is an array of records, an object that has some under its keys, or an object of records
by name; it is read piece by piece, so its size does not matter, only that of a record.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from typing import Any

from xunlian.corpus.chat.formats import TURNS
from xunlian.corpus.reading.decode import decode
from xunlian.corpus.reading.lines import split_lines
from xunlian.corpus.reading.parquet import read_records
from xunlian.corpus.reading.records import csv_rows
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.trouble import LIMITS, Advance, BrokenRecords, ignore
from xunlian.corpus.reading.unpack import read_bytes, spooled, watched
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings

CHAT_FORMATS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}
_SPACE = " \t\r\n"
# NaN, which some writers put where there is nothing, is no number to learn.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
Records = Iterator[tuple[int, Any]]
"""(number from 1, the record: most often an object)."""


def read_chat_records(
    source: Source, settings: CorpusSettings, counts: Counter[str], advance: Advance
) -> Records:
    """The records of a file, in order.

    Raises:
        InputError: it cannot be read, or a line is broken and `settings.on_error` is 'stop'.
    """
    if source.format == "parquet":
        yield from enumerate(_parquet(source, advance), 1)
        return
    text = decode(read_bytes(source, advance), source.name, settings.encoding)
    if source.format == "json":
        yield from enumerate(_json(text, source.name), 1)
    elif source.format == "jsonl":
        yield from _lines(text, BrokenRecords(source.name, settings.on_error, counts))
    else:
        yield from _rows(text, source, BrokenRecords(source.name, settings.on_error, counts))


def _parquet(source: Source, advance: Advance) -> Iterator[Any]:
    if source.compression:
        with spooled(read_bytes(source, advance), source.name, LIMITS.spooled) as file:
            yield from read_records(file, source.name, ignore)
    else:
        with watched(source), source.open() as file:
            yield from read_records(file, source.name, advance, source.size)


def _lines(blocks: Iterator[str], broken: BrokenRecords) -> Records:
    for number, line in enumerate(split_lines(blocks, "\n", LIMITS.record), 1):
        if line is None:
            broken.add(number, f"longer than {LIMITS.record:,} characters")
        elif line.strip():
            try:
                record = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                broken.add(number, f"no JSON: {error}")
                continue
            yield number, record
    broken.finish()


def _rows(blocks: Iterator[str], source: Source, broken: BrokenRecords) -> Records:
    quoting: dict[str, Any] = (
        {} if source.format == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    )
    names: list[str] | None = None
    number = 0
    for line, row in csv_rows(blocks, broken, LIMITS.record, **quoting):
        if names is None:
            names = [name.strip() for name in row]
        elif row:
            number += 1
            if len(row) > len(names):
                broken.add(line, f"{len(row)} fields, not {len(names)}")
            else:
                yield number, dict(zip_longest(names, row))
    broken.finish()


class _Text:
    """The text of a .json file, of which only what is not read yet is in memory."""

    def __init__(self, blocks: Iterator[str], name: str) -> None:
        self._blocks, self.name = blocks, name
        self._text, self._at = "", 0

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """The next character, which is one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.broken(f"expected {' or '.join(wanted)}, found {found or 'its end'}")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        wanted = 1 << 16
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # Perhaps it goes on: twice as much each time, so that the work stays linear.
                if len(self._text) - self._at > LIMITS.record:
                    raise self.broken(f"a record is longer than {LIMITS.record:,}") from error
                if not self._more(wanted):
                    raise self.broken(str(error)) from error
                wanted *= 2
                continue
            if end == len(self._text) and self._more():
                continue  # a number might go on
            self._at = end
            return value

    def broken(self, reason: str) -> InputError:
        return InputError(f"'{self.name}' is no JSON ({reason}). Mend it.")

    def _more(self, amount: int = 1) -> bool:
        """Read on. Returns False at the end of the file."""
        parts, size = [self._text[self._at :]], 0
        for block in self._blocks:
            parts.append(block)
            size += len(block)
            if size >= amount:
                break
        self._text, self._at = "".join(parts), 0
        return size > 0


def _json(blocks: Iterator[str], name: str) -> Iterator[Any]:
    text = _Text(blocks, name)
    if text.peek() == "[":
        yield from _array(text)
    elif text.peek() == "{":
        yield from _object(text)
    else:
        raise text.broken("it is neither an array nor an object")
    if text.peek():
        raise InputError(
            f"'{name}' holds several JSON values. With one a line, call it "
            f"{name.removesuffix('.json')}.jsonl."
        )


def _array(text: _Text) -> Iterator[Any]:
    text.take("[")
    while text.peek() != "]":
        yield text.value()
        if text.peek() != "]":
            text.take(",")
    text.take("]")


def _object(text: _Text) -> Iterator[Any]:
    """Records by name, the records of the lists under some keys, or one record."""
    whole: dict[str, Any] = {}
    named = False
    text.take("{")
    while text.peek() != "}":
        key = text.value()
        text.take(":")
        # A list of objects beside a conversation's turns belongs to it (such as its tools).
        if text.peek() == "[" and key not in TURNS and not whole.keys() & set(TURNS):
            items = _array(text)
            first = list(islice(items, 1))
            if first and isinstance(first[0], dict):
                named = True
                yield from chain(first, items)
            else:
                whole[key] = [*first, *items]
        elif isinstance(value := text.value(), dict):
            named = True
            yield value
        else:
            whole[key] = value
        if text.peek() != "}":
            text.take(",")
    text.take("}")
    if whole and not named:
        yield whole
