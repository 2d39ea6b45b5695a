"""Files that are not on this machine: any URL that fsspec knows (s3://, hf://, https://, ...).

Nothing is asked of the network unless the user named a URL. (https://filesystem-spec.readthedocs.io)
"""

import glob
import re
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from xunlian.corpus.extras import need
from xunlian.errors import InputError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_CHANGES_WITH_CONTENT = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")


def is_url(given: str) -> bool:
    return _URL.match(given) is not None


def file_name(url: str) -> Path:
    """What tells the file of a URL from others; its endings are those of the file's name."""
    scheme = urlsplit(url).scheme
    return Path(url.split("?")[0].split("#")[0] if scheme.startswith("http") else url)


def expand(given: str) -> tuple[list[str], bool]:
    """(the URLs of all files behind one, sorted; whether it names a folder or pattern).

    Raises:
        InputError: fsspec or what the protocol needs is not installed, or nothing is there.
    """
    system, path = _system(given)
    # In an address of the web, a question mark begins the query.
    magic = "*" in given or (glob.has_magic(given) and not given.startswith("http"))
    try:
        if magic:
            found = [p for p, info in system.glob(path, detail=True).items() if _is_file(info)]
            found = [p for p in found if not p.rsplit("/", 1)[-1].startswith(".")]
        elif not given.startswith("http") and system.isdir(path):
            found = [p for p, info in system.find(path, detail=True).items() if _is_file(info)]
            found = [p for p in found if not any(x.startswith(".") for x in _within(p, path))]
        elif not system.exists(path):
            raise InputError(f"Nothing is at '{given}'.")
        else:
            chained = "::" in given  # as in zip://member::s3://bucket/a.zip
            return [given if chained else system.unstrip_protocol(path)], False
    except InputError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise _unreachable(given, error) from error
    return sorted(system.unstrip_protocol(path) for path in found), True


def _within(path: str, folder: str) -> list[str]:
    return path.removeprefix(folder).strip("/").split("/")


def _is_file(info: dict[str, Any]) -> bool:
    return info.get("type") != "directory"


def open_url(url: str) -> IO[bytes]:
    """Raises InputError when it cannot be opened."""
    system, path = _system(url)
    try:
        file: IO[bytes] = system.open(path, "rb")
    except Exception as error:
        raise _unreachable(url, error) from error
    return file


def stamp(url: str) -> tuple[int, str]:
    """(bytes, what else changes with the content, as far as it is told)."""
    system, path = _system(url)
    try:
        system.invalidate_cache()
        info = system.info(path)
    except Exception as error:
        raise _unreachable(url, error) from error
    tags = [str(info[key]) for key in _CHANGES_WITH_CONTENT if info.get(key)]
    return int(info.get("size") or 0), " ".join(tags)


def _system(url: str) -> tuple[Any, str]:
    fsspec = need("fsspec", "remote")
    protocol = url.split("://")[0]
    if any(part.split("://")[0] == "reference" for part in url.split("::")):
        # Its file holds templates that are filled in, with what the environment knows, too.
        raise InputError(f"'{url}': reference:// is not read. Name the files themselves.")
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(f"'{url}': {protocol}:// needs a library ({error}).") from error
    except ValueError as error:
        raise InputError(f"'{url}' cannot be read: {error}.") from error
    return system, path


def _unreachable(url: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"'{url}' cannot be read ({reason}). Is the address right?")
