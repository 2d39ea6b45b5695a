"""A file's bytes, unpacked, in blocks of at most about a megabyte.

What no reader should have to know: compressions, archives cut short, files that swell when they
are unpacked (zip bombs), files that change while they are read.
"""

import bz2
import io
import lzma
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol, cast

import zstandard

from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.trouble import LIMITS, Advance, Limits, Unsound
from xunlian.errors import InputError

BLOCK = 1 << 20
_PACKED = 1 << 17  # read at once of a compressed file
_ZSTD_SLICE = 1 << 13  # zstd makes up to 32,768 times as much of it in one call
_IN_MEMORY = 1 << 26  # of a file that is needed in any order
_XZ_MEMORY = 1 << 29  # xz -9 needs 65 MB; a file can ask for 4 GB


class _Stream(Protocol):
    """One stream of a compressed file, as `bz2.BZ2Decompressor` has it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Damaged(Exception):
    pass


class _Gunzip:
    needs_input = True

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)  # a gzip header and checksum, 32 KB of window

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        content = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(content) < max_length
        return content


class _Unzstd:
    # Not stream_reader: that takes a truncated file for a finished one.
    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        self._waiting = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._waiting[self._at :]

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._waiting)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if data:
            self._waiting, self._at = self._waiting[self._at :] + data, 0
        parts, size = [], 0
        while size < max_length and not self.needs_input and not self._frame.eof:
            piece = self._waiting[self._at : self._at + _ZSTD_SLICE]
            self._at += len(piece)
            parts.append(self._frame.decompress(piece))
            size += len(parts[-1])
        return b"".join(parts)


_NEW: dict[str, Callable[[], _Stream]] = {
    "gz": _Gunzip,
    "zst": _Unzstd,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}


class Expansion:
    """Watches how many bytes come out of how many; stops a bomb.

    Raises:
        Unsound: more than `limits.ratio` for one, beyond the first `limits.free`.
    """

    def __init__(self, name: str, limits: Limits, packed: int = 0) -> None:
        self.name, self.limits = name, limits
        self.packed, self.made = packed, 0

    def add(self, amount: int) -> None:
        self.made += amount
        if self.made > self.limits.free and self.made > self.limits.ratio * self.packed:
            raise Unsound(
                self.name,
                f"'{self.name}' unpacks to more than {self.limits.ratio} times its size "
                f"({self.made:,} bytes of {self.packed:,}), as a zip bomb does. If it can be "
                "trusted, unpack it before.",
            )


def read_bytes(
    source: Source,
    advance: Advance,
    limits: Limits = LIMITS,
    begin: int = 0,
    end: int | None = None,
    stamp: tuple[int, str] | None = None,
) -> Iterator[bytes]:
    """The unpacked content in blocks.

    Args:
        begin, end: the bytes of the file to take; of a compressed one they begin a stream.
        stamp: what `source.stamp()` said earlier.

    Raises:
        InputError: the file cannot be opened, is damaged, ends too early, is a bomb, or changed.
    """
    raw = read_raw(source, advance, begin, end, stamp)
    yield from unpack(raw, source.compression, source.name, limits)


def read_raw(
    source: Source,
    advance: Advance,
    begin: int = 0,
    end: int | None = None,
    stamp: tuple[int, str] | None = None,
) -> Iterator[bytes]:
    """As `read_bytes`, without unpacking."""
    size = _PACKED if source.compression else BLOCK
    with watched(source, stamp), source.open() as file:
        if begin:
            file.seek(begin)
        left = None if end is None else end - begin
        while block := file.read(size if left is None else min(size, left)):
            advance(len(block))
            yield block
            left = None if left is None else left - len(block)


@contextmanager
def watched(source: Source, stamp: tuple[int, str] | None = None) -> Iterator[None]:
    """Raises InputError when the file cannot be read, and Unsound when it changed meanwhile or
    since `stamp`, or is gone."""
    try:
        before = _stamp(source)
        if stamp and before and before != tuple(stamp):
            raise _changed(source)
        yield
    except OSError as error:
        raise InputError(f"'{source.name}' cannot be read ({error.strerror or error}).") from error
    try:
        same = not before or _stamp(source) == before
    except OSError:
        same = False
    if not same:
        raise _changed(source)


def _stamp(source: Source) -> tuple[int, str] | None:
    """None of what is no file: a pipe or a device."""
    if not source.url and not stat.S_ISREG(source.path.stat().st_mode):
        return None
    return source.stamp()


def _changed(source: Source) -> Unsound:
    return Unsound(
        source.name,
        f"'{source.name}' changed while it was being read. Prepare files that stay as they are.",
    )


def unpack(
    raw: Iterator[bytes],
    compression: str,
    name: str,
    limits: Limits = LIMITS,
    stop: int | None = None,
) -> Iterator[bytes]:
    """The content of compressed blocks; of several streams one after the other, as of `cat a.gz
    b.gz`.

    Args:
        stop: the packed bytes at which a stream begins that is not wanted any more.

    Raises:
        InputError: damaged, cut short, a bomb, or no stream begins at `stop`.
    """
    if not compression:
        yield from raw
        return
    try:
        for block, began in _streams(raw, compression, Expansion(name, limits)):
            if stop is not None and began >= stop:
                if began > stop:
                    raise InputError(
                        f"'{name}' holds a compressed file within a record, so it cannot be read "
                        "in parts. Unpack it before."
                    )
                return
            yield block
    except (_Damaged, EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise InputError(
            f"'{name}' is damaged or cut short ({error}). Get the file again."
        ) from error


def _streams(
    raw: Iterator[bytes], compression: str, expansion: Expansion
) -> Iterator[tuple[bytes, int]]:
    """(a block, the packed bytes before the stream that it belongs to)."""
    stream: _Stream | None = None
    began = 0
    for data in raw:
        expansion.packed += len(data)
        while True:
            if stream is None:
                if expansion.made:
                    data = data.lstrip(b"\0")  # some writers fill up the last block of a tape
                if not data:
                    break
                began = expansion.packed - len(data)
                stream = _NEW[compression]()
            block = stream.decompress(data, BLOCK)
            data = b""
            if block:
                expansion.add(len(block))
                for first in range(0, len(block), BLOCK):
                    yield block[first : first + BLOCK], began
            if stream.eof:
                data, stream = stream.unused_data, None
            elif stream.needs_input:
                break
    if stream is not None:
        raise _Damaged("it ends too early")


class _BlockFile(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._block = memoryview(block)
        size = min(len(buffer), len(self._block))
        buffer[:size] = self._block[:size]
        self._block = self._block[size:]
        return size


def as_file(blocks: Iterator[bytes]) -> io.BufferedReader:
    """Blocks as a file that is read from front to back."""
    return io.BufferedReader(_BlockFile(blocks), BLOCK)


@contextmanager
def spooled(blocks: Iterator[bytes], name: str, limit: int) -> Iterator[IO[bytes]]:
    """Blocks as a file that can be read in any order: in memory, a large one in a nameless
    temporary file.

    Raises:
        InputError: it has more than `limit` bytes.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        for block in blocks:
            file.write(block)
            if file.tell() > limit:
                raise InputError(
                    f"'{name}' has more than {limit:,} bytes unpacked, too many for a file that is "
                    "read in any order. Unpack it before."
                )
        file.seek(0)
        yield cast(IO[bytes], file)


def whole(blocks: Iterator[bytes], name: str, limit: int) -> bytes:
    """All of it at once.

    Raises:
        InputError: it has more than `limit` bytes.
    """
    parts, size = [], 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size > limit:
            raise InputError(
                f"'{name}' has more than {limit:,} bytes, too many for one document of its kind. "
                "Leave it out, or divide it."
            )
    return b"".join(parts)
