"""Documents out of files, whatever the format; plain text files are read here."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from xunlian.corpus.clean import is_blank
from xunlian.corpus.decode import Advance, decode, read_bytes
from xunlian.corpus.parquet import read_parquet
from xunlian.corpus.pieces import PIECE, Piece, Pieces, cut, in_pieces
from xunlian.corpus.records import BrokenRecords, Rows, read_csv, read_jsonl
from xunlian.corpus.sources import Source
from xunlian.recipe.settings import Corpus as CorpusSettings

_BLANK_LINE = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n")


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
    fields = {"text_field": settings.text_field}
    if source.format == "parquet":
        return _each_in_pieces(read_parquet(source, fields, advance))
    blocks = read_bytes(source, advance)
    broken = BrokenRecords(source, settings.on_error, counts)
    match source.format:
        case "jsonl":
            return _each_in_pieces(read_jsonl(blocks, fields, settings.encoding, broken))
        case "csv":
            text = decode(blocks, source.name, settings.encoding)
            return _each_in_pieces(read_csv(text, fields, broken))
        case _:
            text = _line_feeds(decode(blocks, source.name, settings.encoding), counts)
            return _read_text(text, settings.documents)


def _each_in_pieces(rows: Rows) -> Pieces:
    for (text,) in rows:
        yield from in_pieces(text)


def _read_text(blocks: Iterator[str], documents: str) -> Pieces:
    boundary = {"file": None, "paragraph": _BLANK_LINE, "line": _LINE}[documents]
    held = ""
    begun = False  # a piece of the document in `held` is out already
    for block in blocks:
        held += block
        if boundary:
            *whole, held = boundary.split(held)
            for text in whole:
                yield text if begun else text.lstrip("\n"), True
                begun = False
        while len(held) > PIECE:
            end = cut(held)
            yield held[:end], False
            held, begun = held[end:], True
    if boundary:
        held = held.rstrip("\n") if begun else held.strip("\n")
    if held or begun or not boundary:
        yield held, True


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
