"""The first tasks of a job: each reads a part of the input into chunks of documents.

Chunks are the unit of all that follows. One has a bounded amount of text, so that a single large
file keeps all processes busy once it is read. It ends between two documents where stages may leave
documents out; else also inside one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from xunlian.corpus.columns import READ, Columns, ColumnWriter, begin, is_done, mark_done
from xunlian.corpus.engines.tasks import Told
from xunlian.corpus.pieces import Passage
from xunlian.corpus.reading.parts import Part, part_from
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.trouble import Unsound, ignore
from xunlian.corpus.tally import Tally
from xunlian.corpus.trail import Suspicion, Trail
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings

BATCH_CHARACTERS = 1 << 20
"""Of a batch, about; a piece more at most."""
CHUNK_CHARACTERS = 1 << 24
MOST_REFUSED = 3
"""Files in one part for which it is read again without them."""
SHOWN_ASIDE = 1000
"""Of what could not be read, of each part, at most; all of it is counted."""


def read_part_into_chunks(
    work: str,
    part: dict[str, Any],
    number: int,
    settings: dict[str, Any],
    key: str,
    whole: bool,
    told: Told,
    suspicion: Suspicion | None = None,
) -> None:
    """Leaves read/NUMBER-CHUNK.arrow for each chunk, and read/NUMBER.json.

    Args:
        part: `Part.plain()`.
        whole: no document is cut over two chunks.
        suspicion: a process died of it (trail.py).

    Raises:
        InputError: something cannot be read, and nothing may be left out.
    """
    folder, name = Path(work), f"{number:05d}"
    if is_done(folder, "read", name, key):
        return
    begin(folder, "read", name)
    corpus, where = CorpusSettings.model_validate(settings), part_from(part)
    with ExitStack() as stack:
        trail = None
        if suspicion:
            trail = stack.enter_context(Trail(folder / "trails" / name, suspicion))
        refused = {
            file: _fatal(file, how) for file, how in (trail.culprits if trail else {}).items()
        }
        if refused and corpus.on_error == "stop":
            place = f" ({where.place})" if where.place else ""
            raise InputError(
                f"{next(iter(refused.values()))[:-1]}{place}. Leave it out with --on-error skip."
            )
        while True:
            try:
                counts = _read(folder, where, number, corpus, whole, told, refused, trail)
                break
            except Unsound as error:
                if corpus.on_error == "stop":
                    raise
                refused[error.name] = str(error)
                if len(refused) > MOST_REFUSED:
                    refused[where.source.name] = (
                        f"'{where.source.name}' holds more than {MOST_REFUSED} files of which "
                        "nothing can be used."
                    )
    for old in (folder / "read").glob(f"{name}-*.arrow"):
        if int(old.stem.partition("-")[2]) >= counts["chunks"]:
            old.unlink()  # of a reading that was begun again
    mark_done(folder, "read", name, key, counts)


def _fatal(file: str, how: str) -> str:
    return f"'{file}' cannot be read: the process that tries it ends ({how})."


def _read(
    folder: Path,
    where: Part,
    number: int,
    corpus: CorpusSettings,
    whole: bool,
    told: Told,
    refused: Mapping[str, str],
    trail: Trail | None,
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    read = Tally()
    aside: list[tuple[str, str, str]] = []

    def set_aside(file: str, place: str, reason: str) -> None:
        if len(aside) < SHOWN_ASIDE:
            aside.append((file, place, reason))

    passages = read_part(
        where,
        corpus,
        counts,
        told,
        set_aside,
        options=corpus.reading,
        refused=refused,
        enter=trail.at if trail else ignore,
    )
    batches = in_columns(passages)
    chunks = 0
    for first in batches:
        with ColumnWriter(folder, "read", chunk_name(number, chunks), READ) as writer:
            characters = 0
            for rows in chain([first], batches):
                writer.write(rows)
                read.saw(rows)
                read.leaves(rows)
                characters += sum(map(len, rows["text"]))
                if characters >= CHUNK_CHARACTERS and (rows["last"][-1] or not whole):
                    break
        chunks += 1
    read.changes.update(counts)
    return {"chunks": chunks, "aside": aside, **read.plain()}


def chunk_name(number: int, chunk: int) -> str:
    return f"{number:05d}-{chunk:04d}"


def in_columns(passages: Iterator[Passage]) -> Iterator[Columns]:
    """Documents in batches of columns."""
    rows: Columns = {name: [] for name in READ.names}
    characters = 0
    for passage in passages:
        for name in READ.names:
            rows[name].append(getattr(passage, name))
        characters += len(passage.text)
        if characters >= BATCH_CHARACTERS:
            yield rows
            rows, characters = {name: [] for name in rows}, 0
    if rows["id"]:
        yield rows
