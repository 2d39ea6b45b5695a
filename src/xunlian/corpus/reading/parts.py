"""Parts of files: what a part is, and its bytes, as whole documents.

A part of plain text, of JSON lines or of tab-separated lines is a range of bytes that ends behind a
line (a paragraph); of Parquet it is row groups, of Arrow record batches, of a web archive records
(gzip members, if it is compressed), of JSON lines in several zstd frames those frames. Other files
are one part. `divide.py` finds them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xunlian.corpus.reading.sources import Source, source_from
from xunlian.corpus.reading.trouble import LIMITS, Advance, Limits, ignore
from xunlian.corpus.reading.unpack import read_raw, unpack


@dataclass(frozen=True)
class Part:
    """A part of a file.

    Attributes:
        begin, end: bytes of the file; of Parquet row groups and of Arrow record batches. `end` is
            None for the last part.
        rows: rows of the file before this part, where that is known.
        encoding: of the text, found for the whole file; '' for what the settings say.
        head: the first line of a table whose later lines these are.
        stamp: what the file was like when it was divided (`Source.stamp`).
    """

    source: Source
    begin: int = 0
    end: int | None = None
    rows: int = 0
    encoding: str = ""
    head: str = ""
    stamp: tuple[int, str] | None = None

    @property
    def place(self) -> str:
        """Which part of the file, in words; '' of the whole."""
        if not self.begin and self.end is None:
            return ""
        units = {"parquet": "row groups", "arrow": "record batches"}
        unit = units.get(self.source.format, "bytes")
        return f"{unit} from {self.begin:,} to {'the end' if self.end is None else f'{self.end:,}'}"

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "source": self.source.plain()}


def part_from(plain: Mapping[str, Any]) -> Part:
    """The part that `plain` describes."""
    stamp = plain["stamp"]
    return Part(
        **{
            **plain,
            "source": source_from(plain["source"]),
            "stamp": None if stamp is None else (stamp[0], stamp[1]),
        }
    )


def part_blocks(part: Part, advance: Advance, limits: Limits = LIMITS) -> Iterator[bytes]:
    """The bytes of a part: of a whole file as they are stored, of less of it unpacked."""
    source = part.source
    raw = read_raw(source, advance, part.begin, part.end, part.stamp)
    if not (part.begin or part.end is not None):
        return raw
    match source.compression:
        case "gz":
            stop = None if part.end is None else part.end - part.begin
            raw = read_raw(source, advance, part.begin, None, part.stamp)
            return unpack(raw, "gz", source.name, limits, stop)
        case "zst":
            inside = unpack(raw, "zst", source.name, limits)
            behind = _behind_part(part, limits)
            return _whole_lines(inside, behind, part.begin == 0)
        case _:
            return raw


def _behind_part(part: Part, limits: Limits) -> Iterator[bytes]:
    if part.end is not None:
        raw = read_raw(part.source, ignore, part.end, None, part.stamp)
        yield from unpack(raw, part.source.compression, part.source.name, limits)


def _whole_lines(inside: Iterator[bytes], behind: Iterator[bytes], first: bool) -> Iterator[bytes]:
    """From behind the first line feed inside to behind the first one behind; a `first` part from
    its very begin."""
    while not first:
        block = next(inside, None)
        if block is None:
            return  # no line begins here
        _, feed, rest = block.partition(b"\n")
        first = bool(feed)
        if rest:
            yield rest
    yield from inside
    for block in behind:
        line, feed, _ = block.partition(b"\n")
        yield line + feed
        if feed:
            return
