"""The first tasks of a job: each reads a part of the input into chunks of documents.

Chunks are the unit of all that follows. One has a bounded amount of text, so that a single large
file keeps all processes busy once it is read. It ends between two documents where stages may leave
documents out; else also inside one.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from xunlian.corpus.columns import READ, Columns, ColumnWriter, begin, is_done, mark_done
from xunlian.corpus.engines.tasks import Told
from xunlian.corpus.pieces import Passage
from xunlian.corpus.reading.parts import part_from
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.tally import Tally
from xunlian.recipe.settings import Corpus as CorpusSettings

BATCH_CHARACTERS = 1 << 20
"""Of a batch, about; a piece more at most."""
CHUNK_CHARACTERS = 1 << 24
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
) -> None:
    """Leaves read/NUMBER-CHUNK.arrow for each chunk, and read/NUMBER.json.

    Args:
        part: `Part.plain()`.
        whole: no document is cut over two chunks.
    """
    folder, name = Path(work), f"{number:05d}"
    if is_done(folder, "read", name, key):
        return
    begin(folder, "read", name)
    corpus = CorpusSettings.model_validate(settings)
    counts: Counter[str] = Counter()
    read = Tally()
    aside: list[tuple[str, str, str]] = []

    def set_aside(file: str, place: str, reason: str) -> None:
        if len(aside) < SHOWN_ASIDE:
            aside.append((file, place, reason))

    where = part_from(part)
    passages = read_part(where, corpus, counts, told, set_aside, options=corpus.reading)
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
    mark_done(folder, "read", name, key, {"chunks": chunks, "aside": aside, **read.plain()})


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
