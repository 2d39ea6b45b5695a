"""The files of a recipe that are somewhere public: named, and fetched when the user asks for it.

An entry of `corpus.download` is the address, size and SHA-256 of one file. It stands for the file
of the same name among `corpus.sources` and `corpus.val`, and nothing is fetched that is not checked
against both.
"""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from xunlian.console import progress, say
from xunlian.errors import InputError, XunlianError
from xunlian.files import atomic_write
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import split_download

_PIECE = 1 << 16
_PATIENCE = 60  # seconds without an answer


@dataclass(frozen=True)
class Download:
    """A file to be had: `path` is where the recipe looks for it."""

    url: str
    size: int
    sha256: str
    path: Path


def missing(corpus: CorpusSettings) -> list[Download]:
    """What the recipe could fetch and does not find.

    Raises:
        InputError: it would go elsewhere than below this folder.
    """
    wanted = {Path(name).name: Path(name) for name in (*corpus.source_paths, *corpus.val)}
    found = []
    for entry in corpus.download:
        url, size, checksum = split_download(entry)
        path = wanted.get(Path(urlsplit(url).path).name)
        if path is not None and not path.exists():
            if path.is_absolute() or any(part.startswith(".") for part in path.parts):
                raise InputError(
                    f"corpus.download would write '{path}'. It fetches into this folder only, and "
                    "no hidden files: name the file in corpus.sources as downloads/..."
                )
            found.append(Download(url, size, checksum, path))
    return found


def require(corpus: CorpusSettings) -> None:
    """Raises InputError when files that could be fetched are not there, saying what to do."""
    files = missing(corpus)
    if not files:
        return
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    folders = ", ".join(dict.fromkeys(str(file.path.parent) for file in files))
    hosts = ", ".join(dict.fromkeys(urlsplit(file.url).netloc for file in files))
    names = ", ".join(file.path.name for file in files)
    raise InputError(
        f"'{files[0].path}'{others} {'are' if others else 'is'} not there. Put {names} into "
        f"'{folders}', or let `xunlian prepare RECIPE --download --out CORPUS` fetch "
        f"{_megabytes(files)} from {hosts}, or name files of your own with corpus.sources=FILE and "
        "corpus.val=FILE."
    )


def fetch(corpus: CorpusSettings, open_url: Callable[[str], IO[bytes]] | None = None) -> list[Path]:
    """Fetch what is missing, each file whole or not at all; returns the new files.

    Args:
        open_url: opens an address; by default over the network.

    Raises:
        InputError: the recipe names nothing to fetch.
        XunlianError: a file could not be had, or is not the one that the recipe means.
    """
    if not corpus.download:
        raise InputError("--download: this recipe names nothing to fetch (corpus.download).")
    files = missing(corpus)
    if not files:
        say("Nothing to fetch: all files are there.")
    with progress() as bar:
        task = bar.add_task("download", total=sum(file.size for file in files))
        for file in files:
            try:
                with (open_url or _open)(file.url) as answer, atomic_write(file.path) as out:
                    _copy(answer, out, file, lambda read: bar.advance(task, read))
            except (
                urllib.error.URLError,
                http.client.HTTPException,
                ssl.SSLError,
                TimeoutError,
                ConnectionError,
            ) as error:
                raise XunlianError(
                    f"'{file.url}' could not be fetched ({getattr(error, 'reason', error)}). Get "
                    f"it in another way and put it to '{file.path}'."
                ) from error
            say(f"{file.path}: {file.size:,} bytes, checked.")
    return [file.path for file in files]


def _open(url: str) -> IO[bytes]:
    answer: IO[bytes] = urllib.request.urlopen(url, timeout=_PATIENCE)
    where = answer.geturl()  # type: ignore[attr-defined]
    if urlsplit(where).scheme != "https":
        answer.close()
        raise XunlianError(f"'{url}' leads to '{where}', which is not https: nothing was fetched.")
    return answer


def _copy(
    answer: IO[bytes], out: IO[bytes], file: Download, advance: Callable[[int], None]
) -> None:
    digest, size = sha256(), 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        if size > file.size:
            break
        digest.update(piece)
        out.write(piece)
        advance(len(piece))
    if size != file.size:
        more = "more than " if size > file.size else ""
        raise XunlianError(
            f"'{file.url}' has {more}{min(size, file.size):,} bytes, not {file.size:,}: the file "
            "changed, or the connection broke. Nothing was kept."
        )
    if digest.hexdigest() != file.sha256:
        raise XunlianError(
            f"'{file.url}' has another checksum than the recipe says: the file changed. Nothing "
            "was kept."
        )


def _megabytes(files: list[Download]) -> str:
    return f"{sum(file.size for file in files) / 1e6:.1f} MB"
