"""The folder in which a job keeps what is done, beside the corpus that it makes.

It is there while the job runs, and goes when the corpus is whole. A job that was killed or failed
leaves it, and the next start of the same job goes on in it; what a failed job with a single part
leaves would be of no use, so it goes too. A folder that the user names is kept.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from xunlian.console import warn
from xunlian.errors import InputError
from xunlian.files import os_errors

_LOCK = ".lock"


@contextlib.contextmanager
def work_folder(out: Path, named: Path | None) -> Iterator[Path]:
    """Yield the folder, locked.

    Raises:
        InputError: `out` exists already, or another process works here.
    """
    if out.exists():
        raise InputError(f"'{out}' exists already. Choose another name, or remove it first.")
    folder = named or out.with_name(out.name + ".work")
    with os_errors(folder):
        made = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / _LOCK, "wb") as lock:
            _lock(lock, folder)
            try:
                yield folder
            except BaseException:
                if not named and len(list((folder / "read").glob("*.json"))) < 2:
                    shutil.rmtree(made[-1] if made else folder, ignore_errors=True)
                elif not named:
                    warn(f"What is done stays in '{folder}': start again to go on.")
                raise
        if not named:
            shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[bytes], folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            f"Another process works in '{folder}'. Wait for it, or choose another --out."
        ) from error


def key_of(*parts: Any) -> str:
    """A short digest of plain data."""
    data = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=12).hexdigest()
