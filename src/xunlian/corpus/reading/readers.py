"""Documents out of files, whatever the format.

`read_part` is for the stages: it also gives web pages, says where each document comes from, and
takes one part of a large file (parts.py). `read_documents` is for those who only want text.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import IO

from xunlian.corpus.clean import is_blank
from xunlian.corpus.extras import need
from xunlian.corpus.pieces import Passage, Piece, Pieces, in_pieces
from xunlian.corpus.reading.archives import Entry, content, members, random_access
from xunlian.corpus.reading.decode import check_encoding, decode
from xunlian.corpus.reading.markdown import plain, without_front_matter
from xunlian.corpus.reading.pages import decode_page
from xunlian.corpus.reading.parquet import ROW, read_arrow, read_parquet
from xunlian.corpus.reading.parts import Part, part_blocks
from xunlian.corpus.reading.pdf import read_pdf
from xunlian.corpus.reading.records import Rows, read_csv, read_jsonl, read_tsv
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.texts import line_feeds, read_text
from xunlian.corpus.reading.trouble import (
    LIMITS,
    Advance,
    BrokenRecords,
    Limits,
    Reading,
    SetAside,
    Unsound,
    ignore,
)
from xunlian.corpus.reading.unpack import Expansion, watched, whole
from xunlian.corpus.reading.warc import read_warc
from xunlian.errors import InputError, XunlianError
from xunlian.recipe.corpus_reading import Reading as ReadingSettings
from xunlian.recipe.settings import Corpus as CorpusSettings


def read_documents(
    sources: Iterable[Source], settings: CorpusSettings, counts: Counter[str], advance: Advance
) -> Iterator[Piece]:
    """All documents of all sources, in order, without the blank ones.

    Args:
        counts: what was dropped is added here: 'empty_documents', 'broken_records', ...

    Raises:
        InputError: a file cannot be read, or it is a web page, whose text has to be extracted.
    """
    for source in sources:
        for text, first, last, kind, name in read_part(Part(source), settings, counts, advance):
            if kind == "html":
                raise InputError(
                    f"'{name.rsplit('#')[0]}' is a web page. `xunlian prepare` takes the text out "
                    "of it; here give text."
                )
            yield Piece(text, first, last)


def read_part(
    part: Part,
    settings: CorpusSettings,
    counts: Counter[str],
    advance: Advance = ignore,
    set_aside: SetAside = ignore,
    limits: Limits = LIMITS,
    options: ReadingSettings | None = None,
    refused: Mapping[str, str] = MappingProxyType({}),
    enter: Callable[[str], None] = ignore,
) -> Iterator[Passage]:
    """The documents of a part, in order, without the blank ones.

    With `settings.on_error = 'skip'` a broken record, member or file is told to `set_aside`, and
    the next one follows.

    Args:
        counts: what was left out is added here: 'empty_documents', 'broken_records',
            'broken_members' (of archives), 'broken_files', 'other_members' and 'other_records' (of
            a kind that is not text); and 'before_damage' (documents that stay of broken files),
            'replaced_characters', 'line_ends'.
        advance: told the bytes read from the file itself.
        options: of the formats.
        refused, enter: as `Reading` has them.

    Raises:
        InputError: something cannot be read, and is not to be skipped; or a setting is wrong.
        Unsound: documents came already of a file or member of which none may stay. Begin again,
            and name it in `refused`.
    """
    if settings.encoding != "auto":
        check_encoding(settings.encoding)
    reading = Reading(settings, counts, advance, set_aside, limits, refused, enter)
    source = part.source
    if source.url:
        need("fsspec", "remote")
    cut = part.begin or part.end is not None
    entry = Entry(
        source.name,
        source.format,
        "" if cut else source.compression,
        raw=lambda: part_blocks(part, advance, limits),
        seekable=None if source.compression else _opener(part),
    )
    yield from _guarded(entry, reading, part, options or ReadingSettings())


def _opener(part: Part) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def open_source() -> Iterator[IO[bytes]]:
        with watched(part.source, part.stamp), part.source.open() as file:
            yield file

    return open_source


def _guarded(
    entry: Entry, reading: Reading, part: Part, options: ReadingSettings
) -> Iterator[Passage]:
    """The passages of a file; where it breaks, and may, it is set aside and its document closed."""
    if entry.format == "pdf":
        need("pypdf", "web")
    passage, documents = None, 0
    before = reading.counts["before_damage"]
    try:
        if entry.name in reading.refused:
            raise InputError(reading.refused[entry.name])
        reading.enter(entry.name)
        with _known_errors(entry.name):
            for passage in _read(entry, reading, part, options):
                documents += passage.last
                yield passage
    except InputError as error:
        unsound = error.name if isinstance(error, Unsound) else ""
        if not reading.skips or (unsound and (passage or unsound != entry.name)):
            raise
        reading.counts["broken_files"] += 1
        if passage and not passage.last:
            documents += 1
            yield Passage("", False, True, "text", passage.id)
        stay = ""
        if documents:
            # Of a member that broke with its archive, they were counted there.
            reading.counts["before_damage"] = before + documents
            stay = f" The {documents:,} documents before that stay."
        reading.set_aside(entry.name, "" if entry.depth else part.place, f"{error}{stay}")


@contextmanager
def _known_errors(name: str) -> Iterator[None]:
    """What a library raises that no reader expects is the file's fault all the same."""
    try:
        yield
    except XunlianError:
        raise
    except Exception as error:
        raise InputError(f"'{name}' cannot be read ({error!r}). Leave it out.") from error


def _read(
    entry: Entry, reading: Reading, part: Part, options: ReadingSettings
) -> Iterator[Passage]:
    match entry.format:
        case "zip" | "tar":
            for member in members(entry, reading):
                yield from _guarded(member, reading, Part(part.source), options)
                reading.enter(entry.name)  # whose it is what comes between two members
        case "html":
            yield from _page(entry, reading)
        case "warc":
            yield from _web_archive(entry, reading, _prefix(entry, part))
        case _:
            pieces = _pieces(entry, reading, part, options)
            yield from _numbered(pieces, _prefix(entry, part), part.rows, reading.counts)


def _web_archive(entry: Entry, reading: Reading, prefix: str) -> Iterator[Passage]:
    records = read_warc(content(entry, reading), entry.name, reading)
    for number, (text, kind, url) in enumerate(records):
        name = f"{prefix}{number} {url}"
        if is_blank(text):
            reading.counts["empty_documents"] += 1
        elif kind == "html":
            yield Passage(text, True, True, kind, name)
        else:
            first = True
            for piece, last in in_pieces(text):
                yield Passage(piece, first, last, kind, name)
                first = False


def _prefix(entry: Entry, part: Part) -> str:
    """What comes before a document's number: where the part begins, unless rows are counted."""
    return f"{entry.name}@{part.begin}#" if part.begin and not part.rows else f"{entry.name}#"


def _numbered(pieces: Pieces, prefix: str, number: int, counts: Counter[str]) -> Iterator[Passage]:
    first = True
    for text, last in pieces:
        if first and is_blank(text):
            counts["empty_documents"] += last
            number += last
            continue
        yield Passage(text, first, last, "text", f"{prefix}{number}")
        first = last
        number += last


def _pieces(entry: Entry, reading: Reading, part: Part, options: ReadingSettings) -> Pieces:
    settings, limits = reading.settings, reading.limits
    fields = {"text_field": settings.text_field}
    name = entry.name
    encoding = part.encoding or settings.encoding
    match entry.format:
        case "parquet" | "arrow":
            yield from _each_in_pieces(_columns(entry, reading, part))
            return
        case "pdf":
            with random_access(entry, reading) as file:
                yield from in_pieces(read_pdf(file, name, limits))
            return
    blocks = content(entry, reading)
    replaced = _Replaced(name, reading)
    tell = replaced.tell if reading.skips else None
    broken = _broken_records(entry, reading, part)
    if entry.format == "jsonl":
        rows = read_jsonl(
            blocks,
            fields,
            encoding,
            broken,
            replaced=tell,
            before=part.begin,
            limit=limits.record,
        )
        yield from _each_in_pieces(rows)
        replaced.finish()
        return
    text = decode(blocks, name, encoding, tell, part.begin)
    match entry.format:
        case "csv":
            yield from _each_in_pieces(read_csv(text, fields, broken, limits.record))
        case "tsv":
            head = part.head or None
            yield from _each_in_pieces(read_tsv(text, fields, broken, limits.record, head))
        case "md":
            pieces = read_text(_markdown(line_feeds(text, reading.counts)), settings.documents)
            for piece, last in pieces:
                yield plain(piece) if options.markdown == "plain" else piece, last
        case _:
            yield from read_text(line_feeds(text, reading.counts), settings.documents)
    replaced.finish()


def _columns(entry: Entry, reading: Reading, part: Part) -> Rows:
    fields, limits = {"text_field": reading.settings.text_field}, reading.limits
    cut = None if part.end is None else (part.begin, part.end)
    with random_access(entry, reading) as file:
        size = file.seek(0, 2)
        file.seek(0)
        told = size if entry.seekable else 0  # else told as the file was unpacked
        if entry.format == "parquet":
            rows = read_parquet(file, entry.name, fields, reading.advance, told, cut, limits=limits)
        else:
            rows = read_arrow(file, entry.name, fields, reading.advance, told, cut)
        expansion = Expansion(entry.name, limits, packed=size)
        for number, (text,) in enumerate(rows, part.rows + 1):
            expansion.add(ROW + len(text))
            if len(text) > limits.record:
                why = f"longer than {limits.record:,} characters"
                reading.broken(entry.name, f"row {number:,}", why, "broken_records")
            else:
                yield [text]


def _broken_records(entry: Entry, reading: Reading, part: Part) -> BrokenRecords:
    behind = f" behind byte {part.begin:,}" if part.begin else ""
    return BrokenRecords(
        entry.name,
        reading.settings.on_error,
        reading.counts,
        reading.set_aside,
        lambda line: f"{line:,}{behind}",
    )


def _each_in_pieces(rows: Rows) -> Pieces:
    for (text,) in rows:
        yield from in_pieces(text)


def _page(entry: Entry, reading: Reading) -> Iterator[Passage]:
    data = whole(content(entry, reading), entry.name, reading.limits.page)
    text, wrong = decode_page(data)
    if 100 * text.count("\0") > len(text):
        raise InputError(f"'{entry.name}' is a binary file, not a web page.")
    if wrong:
        reading.counts["replaced_characters"] += wrong
    if is_blank(text):
        reading.counts["empty_documents"] += 1
    else:
        yield Passage(text, True, True, "html", f"{entry.name}#0")


def _markdown(blocks: Iterator[str]) -> Iterator[str]:
    first = True
    for block in blocks:
        yield without_front_matter(block) if first else block
        first = False


class _Replaced:
    """Counts the wrong bytes of a file that became U+FFFD; tells of them once, at its end."""

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        self._count, self._first = 0, 0

    def tell(self, count: int, first: int) -> None:
        if not self._count:
            self._first = first
        self._count += count

    def finish(self) -> None:
        if self._count:
            self._reading.counts["replaced_characters"] += self._count
            self._reading.set_aside(
                self._name,
                f"byte {self._first:,}",
                f"{self._count:,} wrong {'byte' if self._count == 1 else 'bytes'} from here on "
                "became U+FFFD",
            )
