"""The report of a corpus: one HTML file with what was read, changed, left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xunlian.report.page import render
from xunlian.report.units import short_number

TEMPLATE = "corpus.html.j2"


@dataclass(frozen=True)
class CorpusData:
    """All that the report shows; what is empty is left out.

    Attributes:
        title: the name of the corpus.
        headline: the few figures to see first, label -> value.
        stages: in their order, each with `name`, `about`, `pieces`, `bytes`, `changed`, `dropped`
            and `dropped_bytes` (by reason), `changes` (by kind), `examples` (by reason: id, text).
        languages: code -> documents.
        lengths: n -> documents of 2^n to 2^(n+1) characters.
        duplicates: (copies of one document, such as 3-4, how many such groups).
        clusters: examples of groups: the beginnings of the texts in each.
        groups: the bias audit: language, category, group, words, sentences, share.
        company: likewise: language, category, group, with, together, expected, ratio.
        aside: what could not be read: (file, place in it, reason).
        mixture: name -> weight, tokens, copies, share.
        sources: (name, bytes, licence).
        facts: label -> value.
        settings: the corpus's tables of the recipe, as TOML.
        made_with: the line at the foot.
    """

    title: str
    headline: Mapping[str, str]
    stages: Sequence[Mapping[str, Any]]
    languages: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=dict)
    duplicates: Sequence[tuple[str, int]] = ()
    clusters: Sequence[Sequence[str]] = ()
    groups: Sequence[Mapping[str, Any]] = ()
    company: Sequence[Mapping[str, Any]] = ()
    aside: Sequence[tuple[str, str, str]] = ()
    mixture: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: Sequence[tuple[str, int, str]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    made_with: str = "Xunlian 迅练"


def render_corpus(data: CorpusData) -> str:
    """The whole page as text, to be written as UTF-8."""
    read = max((stage["bytes"] for stage in data.stages), default=0) or 1
    most = max(data.languages.values(), default=1)
    return render(
        TEMPLATE,
        data=data,
        lengths=length_bars(data.lengths),
        width=lambda size: f"{100 * size / read:.1f}%",
        language_width=lambda count: f"{100 * count / most:.1f}%",
        percent=lambda part, whole: f"{100 * part / max(1, whole):.3g}%",
        words=lambda name: name.replace("_", " "),
    )


def length_bars(lengths: Mapping[int, int]) -> list[tuple[str, int, str]]:
    """(from so many characters, documents, height), each length twice the one before."""
    if not lengths:
        return []
    most = max(lengths.values())
    return [
        (short_number(2**power), count := lengths.get(power, 0), f"{100 * count / most:.1f}%")
        for power in range(min(lengths), max(lengths) + 1)
    ]
