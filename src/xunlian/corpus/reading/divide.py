"""Large files in parts that can be read independently, each giving whole documents.

The documents of all parts are those of the whole file, whatever the size of a part; so the
encoding, and the first line of a table, are found once and belong to each part.
"""

import codecs
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import zstandard

from xunlian.corpus.reading.decode import check_encoding, recognise
from xunlian.corpus.reading.parquet import arrow_batches, row_groups
from xunlian.corpus.reading.parts import Part
from xunlian.corpus.reading.records import read_jsonl
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.trouble import BrokenRecords, ignore
from xunlian.corpus.reading.unpack import BLOCK, read_bytes
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings

PART_BYTES = 64_000_000
_PACKED = 4  # a compressed part has so many times fewer bytes
_LINE = re.compile(rb"\n")
_PARAGRAPH = re.compile(rb"\n\r?\n")
_SAFE = (
    *("utf-8", "utf-8-sig", "ascii", "gb18030", "gbk", "gb2312", "big5", "big5hkscs", "cp9"),
    *("shift_jis", "euc_", "koi8-", "iso8859-", "cp125"),
)
"""How the encodings begin in which the byte of a line feed is nothing else."""


def split_into_parts(
    source: Source, settings: CorpusSettings, part_bytes: int = PART_BYTES
) -> list[Part]:
    """The parts of a file in their order, of about `part_bytes` each.

    A file that cannot be read is one part: reading it says what is wrong.
    """
    try:
        if not source.url and not source.path.is_file():
            return [Part(source)]  # a pipe: it can only be read once
        stamp = source.stamp()
        wanted = max(1, part_bytes // (_PACKED if source.compression else 1))
        splitter = _splitter(source, settings)
        if splitter and stamp[0] > wanted:
            with source.open() as file:
                return splitter(Divided(file, source, settings, stamp, wanted))
    except (OSError, InputError):
        return [Part(source)]
    return [Part(source, stamp=stamp)]


@dataclass(frozen=True)
class Divided:
    """An open file on its way to parts of `wanted` bytes."""

    file: IO[bytes]
    source: Source
    settings: CorpusSettings
    stamp: tuple[int, str]
    wanted: int

    def parts(self, cuts: list[int], encoding: str = "", head: str = "") -> list[Part]:
        """Between `cuts`; the first part begins at 0."""
        ends: list[int | None] = [*cuts, None]
        return [
            Part(self.source, begin, end, 0, encoding, head if begin else "", self.stamp)
            for begin, end in zip([0, *cuts], ends, strict=True)
        ]

    def targets(self) -> Iterator[int]:
        """Where a part should end."""
        yield from range(self.wanted, self.stamp[0], self.wanted)


def _splitter(source: Source, settings: CorpusSettings) -> Callable[[Divided], list[Part]] | None:
    kind = source.format
    lines = kind in ("jsonl", "tsv") or (kind == "txt" and settings.documents == "line")
    match source.compression:
        case "" if lines or (kind == "txt" and settings.documents == "paragraph"):
            return _by_bytes
        case "" if kind == "parquet":
            return _by_row_groups
        case "" if kind == "arrow":
            return _by_batches
        case "" if kind == "warc" and not source.url:
            return _by_records
        case "gz" if kind == "warc":
            return _by_members
        case "zst" if lines and kind != "tsv" and not source.url:
            return _by_frames
        case _:
            return None


def _by_bytes(divided: Divided) -> list[Part]:
    """At line feeds, or behind blank lines where paragraphs are documents."""
    source, settings, file = divided.source, divided.settings, divided.file
    encoding = _encoding(source, settings)
    if not _is_safe(encoding):
        return divided.parts([])
    paragraphs = source.format == "txt" and settings.documents == "paragraph"
    cuts: list[int] = []
    for target in divided.targets():
        if cuts and target <= cuts[-1]:
            continue
        cut = _end_of_match(file, target, _PARAGRAPH if paragraphs else _LINE)
        if cut is None or cut >= divided.stamp[0]:
            break
        cuts.append(cut)
    head = _first_line(file, encoding) if source.format == "tsv" else ""
    return divided.parts(cuts if head is not None else [], encoding, head or "")


def _encoding(source: Source, settings: CorpusSettings) -> str:
    """What reading the whole file would take.

    Raises:
        InputError: it cannot be read, or has no field with text: then it is not divided, so that
            this is said once.
    """
    if source.format == "jsonl":
        fields = {"text_field": settings.text_field}
        broken = BrokenRecords(source.name, "skip", Counter())
        next(read_jsonl(read_bytes(source, ignore), fields, settings.encoding, broken), None)
    if settings.encoding != "auto":
        return settings.encoding
    otherwise = "utf-8" if source.format == "jsonl" else None
    blocks = read_bytes(source, ignore)
    return recognise(blocks, source.name, settings.on_error == "skip", otherwise)


def _is_safe(encoding: str) -> bool:
    return check_encoding(encoding).startswith(_SAFE)


def _end_of_match(file: IO[bytes], begin: int, pattern: re.Pattern[bytes]) -> int | None:
    file.seek(begin)
    held = b""
    while block := file.read(BLOCK):
        data = held + block
        if match := pattern.search(data):
            return begin - len(held) + match.end()
        begin += len(block)
        held = data[-2:]
    return None


def _first_line(file: IO[bytes], encoding: str) -> str | None:
    """The first line that is not empty; None if it is none of a table."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(check_encoding(encoding))("replace")
    for _ in range(100):
        line = decoder.decode(file.readline(BLOCK))
        if line.strip("\r\n"):
            return line if line.endswith("\n") else None
    return None


def _by_row_groups(divided: Divided) -> list[Part]:
    parts: list[Part] = []
    begin = begin_rows = rows = size = 0
    for number, (bytes_, count) in enumerate(row_groups(divided.file, divided.source.name)):
        if size >= divided.wanted:
            parts.append(_rows_part(divided, begin, number, begin_rows))
            begin, begin_rows, size = number, rows, 0
        size += bytes_
        rows += count
    return [*parts, _rows_part(divided, begin, number + 1, begin_rows)] if rows else []


def _rows_part(divided: Divided, begin: int, end: int, rows: int) -> Part:
    return Part(divided.source, begin, end, rows, stamp=divided.stamp)


def _by_batches(divided: Divided) -> list[Part]:
    count = arrow_batches(divided.file, divided.source.name)
    each = max(1, count * divided.wanted // divided.stamp[0])
    if each >= count:
        return divided.parts([])
    bounds = [*range(0, count, each), count]
    return [_rows_part(divided, begin, end, 0) for begin, end in pairwise(bounds)]


def _by_records(divided: Divided) -> list[Part]:
    """Of an uncompressed web archive, from record to record by their lengths."""
    cuts: list[int] = []
    at = 0
    while True:
        divided.file.seek(at)
        head = divided.file.read(1 << 16)
        end = head.find(b"\r\n\r\n")
        length = re.search(
            rb"\ncontent-length:\s*(\d{1,18})\s*\r\n", head[: end + 2], re.IGNORECASE
        )
        if not head.startswith(b"WARC/") or end < 0 or not length:
            return divided.parts(cuts)
        if at >= (cuts[-1] if cuts else 0) + divided.wanted:
            cuts.append(at)
        at += end + 4 + int(length[1])
        divided.file.seek(at)
        if divided.file.read(4) != b"\r\n\r\n":
            return divided.parts(cuts)
        at += 4


def _by_members(divided: Divided) -> list[Part]:
    """Of a web archive that has each record in a gzip member of its own, as all crawlers write."""
    cuts: list[int] = []
    for target in divided.targets():
        if cuts and target <= cuts[-1]:
            continue
        cut = _next_member(divided.file, target)
        if cut is None:
            break
        cuts.append(cut)
    return divided.parts(cuts)


def _next_member(file: IO[bytes], begin: int) -> int | None:
    """Where a member begins that holds a record. That these bytes stand there by chance is out of
    the question; that they are a compressed web archive in a record is found when it is read."""
    file.seek(begin)
    data = file.read(BLOCK)
    while data:
        at = data.find(b"\x1f\x8b\x08")
        if at < 0:
            begin, data = begin + len(data) - 2, data[-2:] + file.read(BLOCK)
            if len(data) <= 2:
                return None
            continue
        begin, data = begin + at, data[at:]
        if len(data) < 1 << 12:
            data += file.read(BLOCK)
        try:
            if zlib.decompressobj(31).decompress(data[: 1 << 12], 16).startswith(b"WARC/"):
                return begin
        except zlib.error:
            pass
        begin, data = begin + 3, data[3:]
    return None


def _by_frames(divided: Divided) -> list[Part]:
    cuts: list[int] = []
    for at in _frames(divided.file):
        if at >= (cuts[-1] if cuts else 0) + divided.wanted and at < divided.stamp[0]:
            cuts.append(at)
    if not cuts:
        return divided.parts([])
    encoding = _encoding(divided.source, divided.settings)
    return divided.parts(cuts if _is_safe(encoding) else [], encoding)


def _frames(file: IO[bytes]) -> Iterator[int]:
    """Where the frames of a zstd file end, from block to block without unpacking (RFC 8878, 3.1).

    Ends where something else stands than a frame.
    """
    at = 0
    while True:
        file.seek(at)
        head = file.read(18)
        if head[:4] == b"\x28\xb5\x2f\xfd":
            try:
                at += zstandard.frame_header_size(head)
                checksum = zstandard.get_frame_parameters(head).has_checksum
            except zstandard.ZstdError:
                return
            last = False
            while not last:
                file.seek(at)
                block = file.read(3)
                if len(block) < 3:
                    return
                bits = int.from_bytes(block, "little")
                last, repeated = bool(bits & 1), bits >> 1 & 3 == 1
                at += 3 + (1 if repeated else bits >> 3)
            at += 4 * checksum
        elif len(head) >= 8 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:
            at += 8 + int.from_bytes(head[4:8], "little")
        else:
            return
        yield at
