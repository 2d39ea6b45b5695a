"""The report of a corpus: one HTML file with what was read, changed, left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xunlian.report.page import render

TEMPLATE = "corpus.html.j2"


@dataclass(frozen=True)
class PageSample:
    """A web page and what was taken out of it.

    Attributes:
        before: the beginning of what is seen on it: lines, and whether each was taken.
        after: the beginning of what was taken; `more` when it goes on.
        characters: of both, in all.
        left_out: (stage, reason) where a later stage left it out.
    """

    id: str
    before: Sequence[tuple[str, bool]]
    after: str
    more: bool
    characters: tuple[int, int]
    left_out: tuple[str, str] | None


@dataclass(frozen=True)
class CorpusData:
    """All that the report shows; what is empty is left out.

    Attributes:
        title: the name of the corpus.
        headline: the few figures to see first, label -> value.
        stages: in their order, each with `name`, `about`, `pieces`, `bytes`, `changed`, `dropped`
            and `dropped_bytes` (by reason), `changes` (by kind), `examples` (by reason: id, text).
        pages: some of the web pages among the input.
        languages: code -> documents.
        lengths: n -> documents of 2^n to 2^(n+1) characters.
        duplicates: (copies of one document, such as 3-4, how many such groups).
        clusters: examples of groups: the beginnings of the texts in each.
        groups: the bias audit: language, category, group, words, sentences, share.
        company: likewise: language, category, group, with, together, expected, ratio.
        aside: what could not be read: (file, place in it, reason).
        mixture: name -> weight, tokens, copies, share.
        sources: of each file `name`, `bytes`, and where they are said `origin` (the name of what it
            is a part of), `licence` and `url`.
        facts: label -> value.
        settings: the corpus's tables of the recipe, as TOML.
        made_with: the line at the foot.
    """

    title: str
    headline: Mapping[str, str]
    stages: Sequence[Mapping[str, Any]]
    pages: Sequence[PageSample] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=dict)
    duplicates: Sequence[tuple[str, int]] = ()
    clusters: Sequence[Sequence[str]] = ()
    groups: Sequence[Mapping[str, Any]] = ()
    company: Sequence[Mapping[str, Any]] = ()
    aside: Sequence[tuple[str, str, str]] = ()
    mixture: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: Sequence[Mapping[str, Any]] = ()
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
        origins=origins(data.sources),
        width=lambda size: f"{100 * size / read:.1f}%",
        language_width=lambda count: f"{100 * count / most:.1f}%",
        percent=lambda part, whole: f"{100 * part / max(1, whole):.3g}%",
        words=lambda name: name.replace("_", " "),
        short_id=short_id,
    )


def length_bars(lengths: Mapping[int, int]) -> list[tuple[str, int, str]]:
    """(from so many characters, documents, height), each length twice the one before."""
    if not lengths:
        return []
    most = max(lengths.values())
    return [
        (_power(power), count := lengths.get(power, 0), f"{100 * count / most:.1f}%")
        for power in range(min(lengths), max(lengths) + 1)
    ]


def short_id(identity: str) -> str:
    """The address of a document, if it has one, or the end of its file's name."""
    file, _, address = identity.partition(" ")
    return address if "://" in address else "/".join(file.split("/")[-2:])


def _power(power: int) -> str:
    """2^power, such as 512, 2K (2,048) or 1M."""
    thousands = min(power // 10, 3)
    return f"{2 ** (power - 10 * thousands)}{('', 'K', 'M', 'G')[thousands]}"


def origins(sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the files come from: those of one name, licence and address are one row; of files that
    have no name, a lone one has its own."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for source in sources:
        key = (source.get("origin", ""), source.get("licence", ""), source.get("url", ""))
        groups.setdefault(key, []).append(source)
    return [
        {
            "name": name or (files[0]["name"] if len(files) == 1 else f"{len(files):,} files"),
            "bytes": sum(source["bytes"] for source in files),
            "licence": licence,
            "url": url,
        }
        for (name, licence, url), files in groups.items()
    ]
