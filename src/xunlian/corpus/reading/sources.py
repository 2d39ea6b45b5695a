"""Which files the user means: files, folders, globs and URLs, and how each is read."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import IO, Any, NoReturn

from xunlian.corpus.reading import remote
from xunlian.errors import InputError, did_you_mean
from xunlian.recipe.samples import resolve_source

FORMATS = {
    ".txt": "txt",
    ".md": "md",
    ".markdown": "md",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".pdf": "pdf",
    ".zip": "zip",
    ".tar": "tar",
}
PAIR_FORMATS = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".tmx": "tmx",
}
"""Formats that hold both sides of a pair."""
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".bz2": "bz2", ".xz": "xz"}
_TARS = {".tgz": "gz", ".tzst": "zst", ".tbz2": "bz2", ".tbz": "bz2", ".txz": "xz"}
Formats = Mapping[str, str]
"""Ending of a file's name -> format."""


@dataclass(frozen=True)
class Source:
    """One file to read.

    Attributes:
        path: of a local file; of a URL only what tells it from others.
        name: as the user gave it; inside a folder, the folder as given and the way in it.
        format: one of `FORMATS`; for pairs one of `PAIR_FORMATS`, or txt.
        compression: '', gz, zst, bz2 or xz.
        url: '' for a local file.
    """

    path: Path
    name: str
    format: str
    compression: str
    url: str = ""

    @property
    def size(self) -> int:
        """Bytes; 0 where a server does not tell, or nothing is there any more."""
        try:
            return self.stamp()[0]
        except (OSError, InputError):
            return 0

    def stamp(self) -> tuple[int, str]:
        """(bytes, what else changes with the content: times or a tag), compared around a reading.

        The time at which the file was written can be set back, as copying tools do; the one at
        which the system last changed anything of it cannot.

        Raises:
            OSError: it is not there.
        """
        if self.url:
            return remote.stamp(self.url)
        stat = self.path.stat()
        return stat.st_size, f"{stat.st_mtime_ns} {stat.st_ctime_ns}"

    def open(self) -> IO[bytes]:
        """Raises OSError when it is not there."""
        return remote.open_url(self.url) if self.url else open(self.path, "rb")

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "path": str(self.path)}


def source_from(plain: Mapping[str, Any]) -> Source:
    """The source that `plain` describes."""
    return Source(**{**plain, "path": Path(plain["path"])})


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """The files behind files, folders (searched through), globs and URLs, each once, in a fixed
    order.

    Raises:
        InputError: something is missing, empty, or holds no file that can be read.
    """
    found: dict[str, Source] = {}
    for given in inputs:
        for source in expand_source(str(given), FORMATS):
            found.setdefault(source.url or str(source.path.resolve()), source)
    return list(found.values())


def expand_source(given: str, formats: Formats) -> Iterator[Source]:
    """The files behind one name: in a folder or glob those of a known format."""
    if remote.is_url(given):
        yield from _expand_url(given, formats)
        return
    path = Path(resolve_source(given))
    if path.is_dir():
        files = sorted(p for p in _walk(path) if _known(p, path, formats) and p.is_file())
        if not files:
            raise InputError(f"Folder '{given}' has no readable file. {_readable(formats)}")
        yield from (_source(p, str(p), formats) for p in files)
    elif path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"'{given}' is empty.")
        yield _source(path, given, formats)
    elif path.exists():
        yield _source(path, given, formats)  # a pipe or device: fails when it cannot be read twice
    elif glob.has_magic(given):
        matches = [Path(p) for p in sorted(glob.glob(given, recursive=True))]
        files = [p for p in matches if p.is_file() and known_format(p, formats) is not None]
        if not files:
            raise InputError(f"No readable file matches '{given}'. {_readable(formats)}")
        yield from (_source(p, str(p), formats) for p in files)
    else:
        raise InputError(f"No file or folder '{given}'.{_near(path)}")


def _walk(folder: Path) -> Iterator[Path]:
    """All in a folder and in those in it; links to folders are not followed."""

    def refuse(error: OSError) -> NoReturn:
        raise InputError(
            f"Folder '{error.filename}' cannot be read ({error.strerror}). Change its permissions, "
            "or leave it out."
        )

    for name, _, files in os.walk(folder, onerror=refuse):
        yield from (Path(name, file) for file in files)


def _expand_url(given: str, formats: Formats) -> Iterator[Source]:
    urls, many = remote.expand(given)
    if many:
        urls = [url for url in urls if known_format(remote.file_name(url), formats)]
    if not urls:
        raise InputError(f"No readable file at '{given}'. {_readable(formats)}")
    for url in urls:
        yield _source(remote.file_name(url), url, formats, url)


def _readable(formats: Formats) -> str:
    return f"Readable are {', '.join(formats)}, each also {', '.join(COMPRESSIONS)}."


def _near(path: Path) -> str:
    if path.parts[:1] == ("downloads",):  # where recipes look for what they cannot bring along
        return " The recipe's comments say where to get it: xunlian recipe NAME."
    try:
        return did_you_mean(path.name, _names(path.parent))
    except OSError:
        return ""


def _names(folder: Path) -> Iterable[str]:
    return [p.name for p in folder.iterdir()]


def known_format(path: PurePath, formats: Formats = FORMATS) -> tuple[str, str] | None:
    """(format, compression) by the file's endings, or None when they are not known."""
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in _TARS and "tar" in formats.values():
        return "tar", _TARS[endings[-1]]
    compression = COMPRESSIONS.get(endings[-1], "") if endings else ""
    if compression:
        endings.pop()
    kind = formats.get(endings[-1]) if endings else None
    return (kind, compression) if kind else None


def is_hidden(path: PurePath) -> bool:
    """Whether a part of it begins with a dot, or it is what macOS puts into zips."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _known(path: Path, folder: Path, formats: Formats) -> bool:
    return not is_hidden(path.relative_to(folder)) and known_format(path, formats) is not None


def _source(path: Path, name: str, formats: Formats, url: str = "") -> Source:
    try:
        f"{path}{name}".encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name of the file {name!a} is not UTF-8. Rename it (of Chinese files "
            "`convmv -f gbk -t utf8 --notest` does), or leave it out."
        ) from error
    known = known_format(path, formats)
    if known:
        return Source(path, name, *known, url)
    if ".json" in path.suffixes:
        raise InputError(
            f"'{name}': .json is not read. Write one JSON object a line into a .jsonl file."
        )
    # Named one by one and of no known ending: plain text, unless reading shows otherwise.
    return Source(path, name, "txt", COMPRESSIONS.get(path.suffix.lower(), ""), url)
