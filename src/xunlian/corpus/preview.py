"""A few documents before and after the stages, so that a recipe can be tuned by looking."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from xunlian.corpus.columns import READ, Columns, apply
from xunlian.corpus.line import Stage, change
from xunlian.corpus.read_tasks import in_columns
from xunlian.corpus.reading.parts import Part
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.tally import Tally
from xunlian.recipe.settings import Corpus as CorpusSettings


class Preview(NamedTuple):
    """One document. `before` is what was read, or of a web page the text taken out of it; `after`
    is None when the document is left out, by `stage` for `reason`."""

    id: str
    before: str
    after: str | None
    stage: str
    reason: str
    notes: dict[str, object]


def preview(
    sources: Sequence[Source], corpus: CorpusSettings, stages: Sequence[Stage], count: int
) -> Iterator[Preview]:
    """`count` documents in all, the first ones of each source, or the first pieces of long ones."""
    rows: Columns = {name: [] for name in READ.names}
    each = -(-count // len(sources))
    for source in sources:
        left = min(each, count - len(rows["id"]))
        passages = read_part(Part(source), corpus, Counter(), options=corpus.reading)
        begun = islice((passage for passage in passages if passage.first), left)
        for batch in in_columns(begun):
            for name, column in batch.items():
                rows[name] += column
        if len(rows["id"]) >= count:
            break
    before = rows["text"]
    where = [("", "")] * len(before)
    for stage in stages:
        changed = change(rows, stage.make(), Tally())
        for i, reason in enumerate(changed["dropped"]):
            if reason is not None:
                where[i] = stage.name, reason
        rows = apply(rows, changed)
        if stage.name == "extract":  # a page's own source would say little
            before = [
                old if new is None else new for old, new in zip(before, rows["text"], strict=True)
            ]
    names = [name for name in rows if name not in READ.names]
    for i, identity in enumerate(rows["id"]):
        notes = {name: rows[name][i] for name in names if rows[name][i] is not None}
        yield Preview(identity, before[i], rows["text"][i], *where[i], notes)
