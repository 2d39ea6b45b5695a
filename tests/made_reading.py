"""Reads files as the stages get them, and notes all that is told meanwhile."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from xunlian.corpus.pieces import Passage
from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.parts import Part, part_from
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.reading.trouble import LIMITS, Limits
from xunlian.recipe.corpus_reading import Reading as ReadingSettings
from xunlian.recipe.settings import Corpus as Settings


@dataclass
class Read:
    """What came out: `texts` of the documents, each whole, and what was said."""

    texts: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    aside: list[tuple[str, str, str]] = field(default_factory=list)
    advanced: int = 0

    def part(
        self, part: Part, settings: Settings, limits: Limits, options: ReadingSettings
    ) -> None:
        whole = True

        def advance(amount: int) -> None:
            self.advanced += amount

        def set_aside(name: str, place: str, reason: str) -> None:
            self.aside.append((name, place, reason))

        for passage in read_part(part, settings, self.counts, advance, set_aside, limits, options):
            assert isinstance(passage, Passage) and passage.first == whole
            if passage.first:
                self.texts.append("")
                self.kinds.append(passage.kind)
                self.ids.append(passage.id)
            assert passage.id == self.ids[-1] and passage.kind == self.kinds[-1]
            self.texts[-1] += passage.text
            whole = passage.last
        assert whole


def read(
    *inputs: Path | str,
    part_bytes: int = 0,
    limits: Limits = LIMITS,
    markdown: str = "keep",
    **settings: object,
) -> Read:
    """All documents of the files; in parts, each as it is after a way through JSON."""
    found = Read()
    corpus = Settings(**settings)  # type: ignore[arg-type]
    options = ReadingSettings(markdown=markdown)  # type: ignore[arg-type]
    for source in find_sources([str(path) for path in inputs]):
        parts = split_into_parts(source, corpus, part_bytes) if part_bytes else [Part(source)]
        for part in parts:
            found.part(part_from(part.plain()), corpus, limits, options)
    return found
