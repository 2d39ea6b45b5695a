"""The rows of a task's files, and what is wrong with one."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xunlian.console import warn
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.reading.decode import decode
from xunlian.corpus.reading.sources import Source, expand_source
from xunlian.corpus.reading.trouble import LIMITS, ignore
from xunlian.corpus.reading.unpack import read_bytes
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings


@dataclass(frozen=True)
class Record:
    """One row, with where it stands, for errors."""

    place: str
    fields: Mapping[str, Any]

    def first(self, *names: str) -> Any:
        """The first of these fields that there is and that is not empty.

        Raises:
            InputError: there is none.
        """
        for name in names:
            if self.fields.get(name) not in (None, "", [], {}):
                return self.fields[name]
        wanted = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
        there = ", ".join(map(str, list(self.fields)[:8])) or "nothing"
        raise InputError(f"{self.place} has no field {wanted}; it has {there}.")

    def text(self, *names: str) -> str:
        """As `first`, as text. Raises InputError, too, when it is none."""
        value = self.first(*names)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            field = next(name for name in names if self.fields.get(name) is value)
            raise InputError(f"{self.place}: the field {field} is no text.")
        return value

    def wrong(self, what: str) -> InputError:
        return InputError(f"{self.place}: {what}")


def read_task(paths: Sequence[str], settings: CorpusSettings) -> list[Record]:
    """The rows of .jsonl, .json, .csv, .tsv and .parquet files, packed or not.

    Raises:
        InputError: a file is missing, empty or broken, a row is no object, or there is no row.
    """
    sources = [source for path in paths for source in expand_source(path, CHAT_FORMATS)]
    dropped: Counter[str] = Counter()
    found = []
    for source in sources:
        for number, record in _records(source, settings, dropped):
            if not isinstance(record, dict):
                raise InputError(f"'{source.name}', record {number}, is no object with fields.")
            found.append(Record(f"'{source.name}', record {number:,}", record))
    if dropped["broken_records"]:
        warn(f"{dropped['broken_records']:,} broken records were left out.")
    if not found:
        raise InputError(f"There is nothing in {', '.join(paths)}.")
    return found


def _records(
    source: Source, settings: CorpusSettings, dropped: Counter[str]
) -> Iterator[tuple[int, Any]]:
    if source.format == "csv" and (rows := _choice_rows(source, settings)):
        return enumerate(rows, 1)
    return read_chat_records(source, settings, dropped, ignore)


def _choice_rows(source: Source, settings: CorpusSettings) -> list[dict[str, str]]:
    """The rows of a file in the form of MMLU's, which has no header: a question, four choices, and
    the letter of the right one. Of another form: nothing."""
    text = "".join(decode(read_bytes(source, ignore), source.name, settings.encoding))
    csv.field_size_limit(LIMITS.record)
    try:
        rows = [row for row in csv.reader(text.splitlines(keepends=True)) if row]
    except csv.Error:
        return []  # read_chat_records says where
    if not all(len(row) == 6 and row[5].strip() in "ABCD" for row in rows):
        return []
    names = ("question", "A", "B", "C", "D", "answer")
    return [dict(zip(names, row, strict=True)) for row in rows]
