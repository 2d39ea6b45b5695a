"""Files that are whole or absent: written beside, flushed, renamed; and checksums.

Every file of a corpus or a run is written through here, so that a killed process or a full disk
never leaves half a file under its real name.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from xunlian.errors import InputError, XunlianError


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (full disk, read-only, no rights) into one clear line.

    Raises:
        XunlianError: the disk is full (status 1: earlier files stay good).
        InputError: the place cannot be written or read at all.
    """
    try:
        yield
    except OSError as error:
        path = Path(error.filename or path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise XunlianError(
                f"The disk is full: '{path}' could not be written. What was saved before stays "
                "good; free some space and go on."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise InputError(
                f"No permission for '{path}'. Choose another folder with --out, or change its "
                "permissions."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise InputError(f"'{path}' is in the way ({error.strerror}).") from error
        raise


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends well."""
    path = Path(path)
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            encoding = None if "b" in mode else "utf-8"
            with os.fdopen(handle, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path` when the block ends well.

    On any error the folder is removed, so that nothing half-made is left behind.

    Raises:
        InputError: `path` exists and `replace` is false.
    """
    path = Path(path)
    if path.exists() and not replace:
        raise InputError(f"'{path}' exists already. Choose another name, or remove it first.")
    with os_errors(path):
        first_made = _first_missing(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        os.chmod(part, 0o777 & ~_umask())
        try:
            yield part
            if path.exists():
                shutil.rmtree(path)
            os.replace(part, path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            if first_made is not None:
                shutil.rmtree(first_made, ignore_errors=True)
            raise


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for libraries that open files themselves: yields the temporary path."""
    path = Path(path)
    with os_errors(path):
        first_made = _first_missing(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            yield folder / path.name
            with open(folder / path.name, "rb") as file:
                os.fsync(file.fileno())
            os.replace(folder / path.name, path)
        except BaseException:
            if first_made is not None:
                shutil.rmtree(first_made, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, with its keys in the order given."""
    with atomic_write(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """Raises InputError, naming the file, when it is missing or is not JSON."""
    try:
        with os_errors(path):
            return orjson.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"'{path}' is missing.") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"'{path}' is damaged: it is not JSON ({error}).") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_missing(path: Path) -> Path | None:
    """The outermost folder that must be made for `path`."""
    return next((p for p in reversed([path.parent, *path.parent.parents]) if not p.exists()), None)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
