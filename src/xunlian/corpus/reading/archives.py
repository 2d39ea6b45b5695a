"""Files in .zip and .tar archives, one after the other, without unpacking them to disk.

Nothing of an archive is ever written under the names in it, so a `../` or a link leads nowhere; a
member with such a name is set aside all the same, for it was made to do harm. An archive within an
archive is read, one within that is not.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, NoReturn

from xunlian.corpus.reading.chinese import chinese_encoding
from xunlian.corpus.reading.sources import is_hidden, known_format
from xunlian.corpus.reading.trouble import Reading
from xunlian.corpus.reading.unpack import BLOCK, Expansion, as_file, spooled, unpack
from xunlian.errors import InputError

_DEEPEST = 1  # archives within an archive


@dataclass(frozen=True)
class Entry:
    """A file to read, on its own or in an archive.

    Attributes:
        raw: its bytes as they are stored, in blocks, once.
        seekable: opens the file itself, where it is on its own and not compressed.
        depth: archives around it.
    """

    name: str
    format: str
    compression: str
    raw: Callable[[], Iterator[bytes]]
    seekable: Callable[[], AbstractContextManager[IO[bytes]]] | None = None
    depth: int = 0


def content(entry: Entry, reading: Reading) -> Iterator[bytes]:
    """The unpacked bytes in blocks."""
    return unpack(entry.raw(), entry.compression, entry.name, reading.limits)


@contextmanager
def random_access(entry: Entry, reading: Reading) -> Iterator[IO[bytes]]:
    """The unpacked bytes as a file that can be read in any order."""
    if entry.seekable:
        with entry.seekable() as file:
            yield file
    else:
        with spooled(content(entry, reading), entry.name, reading.limits.spooled) as file:
            yield file


def members(archive: Entry, reading: Reading) -> Iterator[Entry]:
    """The files in an archive that can be read, in their order. The others are counted in
    'other_members'; what is suspect is set aside.

    Raises:
        InputError: the archive is damaged or a bomb; without `skip`, also at a suspect member.
    """
    if archive.depth > _DEEPEST:
        _refuse(archive, "an archive within an archive within an archive; unpack it before")
    yield from (_zip if archive.format == "zip" else _tar)(archive, reading)


def _zip(archive: Entry, reading: Reading) -> Iterator[Entry]:
    try:
        with random_access(archive, reading) as file:
            expansion = Expansion(archive.name, reading.limits, packed=file.seek(0, 2))
            with zipfile.ZipFile(file) as opened:
                for member in opened.infolist():
                    if archive.seekable:
                        reading.advance(member.compress_size)
                    name = _zip_name(member)
                    if member.is_dir() or not _is_wanted(name, archive, reading):
                        continue
                    if member.flag_bits & 1:
                        _suspect(archive, name, "it is encrypted", reading)
                    elif member.external_attr >> 28 == 0o12:
                        _suspect(archive, name, "it is a link", reading)
                    elif _is_bomb(member, reading):
                        _suspect(archive, name, _swells(member), reading)
                    else:
                        blocks = _zip_blocks(opened, member, archive, expansion)
                        yield _entry(archive, name, blocks)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError) as error:
        raise _damaged(archive, error) from error


def _is_bomb(member: zipfile.ZipInfo, reading: Reading) -> bool:
    """By the size it declares; it is never unpacked further."""
    size, limits = member.file_size, reading.limits
    return size > limits.free and size > limits.ratio * member.compress_size


def _swells(member: zipfile.ZipInfo) -> str:
    return f"it unpacks to {member.file_size:,} bytes of {member.compress_size:,}, a zip bomb"


def _zip_blocks(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Entry, expansion: Expansion
) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            with opened.open(member) as file:
                while block := file.read(BLOCK):
                    expansion.add(len(block))
                    yield block
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            OSError,
            EOFError,
        ) as error:
            raise InputError(
                f"'{archive.name}/{_zip_name(member)}' is damaged ({error}). Get the file again."
            ) from error

    return blocks


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name; one that is not declared as UTF-8 may be in it all the same, or in GBK."""
    if member.flag_bits & 0x800 or member.filename.isascii():
        return member.filename
    try:
        return _decoded(member.filename.encode("cp437"))
    except UnicodeEncodeError:
        return member.filename


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        # A name is too short for its commonest characters to tell; Chinese is the likeliest.
        encodings = [chinese_encoding(name) or "gb18030", "cp437"]
    for encoding in encodings:
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name.decode("latin-1")


def _tar(archive: Entry, reading: Reading) -> Iterator[Entry]:
    blocks = _Counted(content(archive, reading))
    expansion = Expansion(archive.name, reading.limits)
    try:
        with tarfile.open(
            fileobj=as_file(blocks),
            mode="r|",
            bufsize=BLOCK,
            tarinfo=_Member,
            ignore_zeros=True,  # as of `cat a.tar b.tar`
        ) as opened:
            while (member := opened.next()) is not None:
                opened.members = []  # type: ignore[attr-defined]  # or it keeps them all
                name = _tar_name(member.name)
                if member.isdir():
                    continue
                if member.issym() or member.islnk():
                    _suspect(archive, name, "it is a link", reading)
                elif member.isdev():
                    _suspect(archive, name, "it is a device or a pipe", reading)
                elif not member.isreg() or member.issparse():
                    reading.counts["other_members"] += 1
                elif _is_wanted(name, archive, reading):
                    file = opened.extractfile(member)
                    assert file
                    yield _entry(archive, name, _tar_blocks(file, archive, blocks, expansion))
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _damaged(archive, error) from error


class _Member(tarfile.TarInfo):
    """A member; where tarfile ends silently at a broken header, this does not."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


class _Counted:
    """Blocks, and how many bytes they had."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self.bytes = blocks, 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self.bytes += len(block)
        return block


def _tar_blocks(
    file: IO[bytes], archive: Entry, taken: _Counted, expansion: Expansion
) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            while block := file.read(BLOCK):
                expansion.packed = taken.bytes
                expansion.add(len(block))
                yield block
        except (tarfile.TarError, EOFError) as error:
            raise _damaged(archive, error) from error

    return blocks


def _tar_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8, which tarfile hides in surrogates
        return _decoded(name.encode("utf-8", "surrogateescape"))
    return name


def _is_wanted(name: str, archive: Entry, reading: Reading) -> bool:
    """Whether a member is of a known format; one that leads out of the archive is set aside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        _suspect(archive, name, "its name leads out of the archive", reading)
        return False
    relative = PurePosixPath(*[part for part in path.parts if part != "."])
    if is_hidden(relative) or known_format(relative) is None:
        reading.counts["other_members"] += 1
        return False
    return True


def _entry(archive: Entry, name: str, raw: Callable[[], Iterator[bytes]]) -> Entry:
    known = known_format(PurePosixPath(name.replace("\\", "/")))
    assert known
    return Entry(f"{archive.name}/{name}", *known, raw, depth=archive.depth + 1)


def _suspect(archive: Entry, name: str, reason: str, reading: Reading) -> None:
    reading.broken(archive.name, f"member '{name}'", reason, "broken_members")


def _refuse(archive: Entry, reason: str) -> NoReturn:
    raise InputError(f"'{archive.name}' is {reason}.")


def _damaged(archive: Entry, error: Exception) -> InputError:
    return InputError(f"'{archive.name}' is damaged or cut short ({error}). Get the file again.")
