"""Which files the user means: files, folders and globs, and how each is read."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xunlian.errors import InputError, did_you_mean
from xunlian.recipe.samples import resolve_source

FORMATS = {".txt": "txt", ".md": "txt", ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
PAIR_FORMATS = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".tmx": "tmx",
}
"""Formats that hold both sides of a pair."""
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
Formats = Mapping[str, str]
"""Ending of a file's name -> format."""


@dataclass(frozen=True)
class Source:
    """One file to read.

    Attributes:
        name: as the user gave it; inside a folder, the folder as given and the way in it.
        format: txt, jsonl, csv or parquet; for pairs also tsv or tmx.
        compression: '', gz or zst.
    """

    path: Path
    name: str
    format: str
    compression: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """The files behind files, folders (searched through) and globs, each once, in a fixed order.

    Raises:
        InputError: something is missing, empty, or holds no file that can be read.
    """
    found: dict[Path, Source] = {}
    for given in inputs:
        for source in expand_source(str(given), FORMATS):
            found.setdefault(source.path.resolve(), source)
    return list(found.values())


def expand_source(given: str, formats: Formats) -> Iterator[Source]:
    """The files behind one name: in a folder or glob those of a known format."""
    path = Path(resolve_source(given))
    readable = ", ".join(formats) + ", each also .gz or .zst"
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _known(p, path, formats) and p.is_file())
        if not files:
            raise InputError(f"Folder '{given}' has no readable file. Readable are {readable}.")
        yield from (_source(p, str(p), formats) for p in files)
    elif path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"'{given}' is empty.")
        yield _source(path, given, formats)
    elif path.exists():
        yield _source(path, given, formats)  # a pipe or device: fails when it cannot be read twice
    elif glob.has_magic(given):
        matches = [Path(p) for p in sorted(glob.glob(given, recursive=True))]
        files = [p for p in matches if p.is_file() and _format(p, formats) is not None]
        if not files:
            raise InputError(f"No readable file matches '{given}'. Readable are {readable}.")
        yield from (_source(p, str(p), formats) for p in files)
    else:
        raise InputError(f"No file or folder '{given}'.{_near(path)}")


def _near(path: Path) -> str:
    try:
        return did_you_mean(path.name, _names(path.parent))
    except OSError:
        return ""


def _names(folder: Path) -> Iterable[str]:
    return [p.name for p in folder.iterdir()]


def _format(path: Path, formats: Formats) -> tuple[str, str] | None:
    """(format, compression) by the file's endings, or None when they are not known."""
    endings = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(endings[-1], "") if endings else ""
    if compression:
        endings.pop()
    kind = formats.get(endings[-1]) if endings else None
    return (kind, compression) if kind else None


def _known(path: Path, folder: Path, formats: Formats) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and _format(path, formats) is not None


def _source(path: Path, name: str, formats: Formats) -> Source:
    known = _format(path, formats)
    if known:
        return Source(path, name, *known)
    if ".json" in path.suffixes:
        raise InputError(
            f"'{name}': .json is not read. Write one JSON object a line into a .jsonl file."
        )
    # Named one by one and of no known ending: plain text, unless reading shows otherwise.
    return Source(path, name, "txt", COMPRESSIONS.get(path.suffix.lower(), ""))
