"""Ten web pages for the report: what is seen on each, what was taken out of it, and what became of
that, so that a person can judge by eye whether texts are found where they stand.

They are spread evenly over the input, and half of them are Chinese where there are as many.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from xunlian.corpus.columns import marker_path, read_columns
from xunlian.corpus.stages.privacy import mask
from xunlian.corpus.stages.scripts import HAN, HAN_SIMPLIFIED, HAN_TRADITIONAL, OTHER, count_scripts
from xunlian.files import read_json
from xunlian.recipe.corpus_privacy import Kind
from xunlian.report.corpus_page import PageSample

PAGES = 10
_LOOKED_AT = 200  # pages among which they are chosen
_BYTES = 200_000_000  # of chunks that are read for that, about
_SEEN, _TAKEN = 3000, 1500  # characters shown of either side
_MARGIN = 200  # masked with them, so that a cut leaves no half of a number
_RUN = 7  # lines left out in a row that are shown in full
_SHORT = 20  # a line of fewer characters may stand in a text by chance
_CHINESE = 0.5  # share of Han characters among the letters

Item = TypeVar("Item")


class Chunk(NamedTuple):
    """A chunk with pages: its stages, of which the first is 'extract', and how many there are."""

    name: str
    stages: Sequence[str]
    pages: int
    size: int


def page_samples(
    work: Path, chunks: Sequence[tuple[str, Sequence[str]]], kinds: Sequence[Kind]
) -> list[PageSample]:
    """Up to ten pages, in their order; none where there are no web pages.

    Args:
        chunks: the names of those that may have pages, and of the stages that each went through.
        kinds: what is masked in them.
    """
    with_pages = []
    for name, stages in chunks:
        counts = read_json(marker_path(work, "extract", name))
        if pages := counts["changes"].get("pages"):
            with_pages.append(Chunk(name, stages, pages, counts["bytes"]))
    size = sum(chunk.size for chunk in with_pages)
    if size > _BYTES:
        with_pages = evenly(with_pages, max(PAGES, len(with_pages) * _BYTES // size))
    chinese: list[tuple[int, PageSample]] = []
    others: list[tuple[int, PageSample]] = []
    for place, (sample, is_chinese) in enumerate(_candidates(work, with_pages, kinds)):
        (chinese if is_chinese else others).append((place, sample))
    some = min(len(chinese), max(PAGES // 2, PAGES - len(others)))
    chosen = evenly(chinese, some) + evenly(others, PAGES - some)
    return [sample for _, sample in sorted(chosen, key=lambda item: item[0])]


def evenly(items: list[Item], count: int) -> list[Item]:
    """`count` of the items, spread over all of them; all when there are no more."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _candidates(
    work: Path, chunks: Sequence[Chunk], kinds: Sequence[Kind]
) -> Iterator[tuple[PageSample, bool]]:
    """Pages with a text, and whether it is Chinese."""
    if not chunks:  # then the libraries for pages need not be there
        return
    from xunlian.corpus.stages.html import make_viewer

    view = make_viewer()
    total, number = sum(chunk.pages for chunk in chunks), 0
    for chunk in chunks:
        files = (read_columns(work, stage, chunk.name) for stage in ("read", *chunk.stages))
        for read, *changes in zip(*files, strict=True):
            for i, kind in enumerate(read["kind"]):
                if kind != "html":
                    continue
                number += 1
                looked_at = number * _LOOKED_AT // total > (number - 1) * _LOOKED_AT // total
                text = changes[0]["text"][i]
                if not text or not (looked_at or total <= _LOOKED_AT):
                    continue
                fate = next(
                    (
                        (stage, change["dropped"][i])
                        for stage, change in zip(chunk.stages, changes, strict=True)
                        if change["dropped"][i] is not None
                    ),
                    None,
                )
                seen = [line for line in map(str.strip, view(read["text"][i]).split("\n")) if line]
                yield _sample(read["id"][i], seen, text, fate, kinds), _is_chinese(text)


def _sample(
    identity: str,
    seen: list[str],
    text: str,
    fate: tuple[str, str] | None,
    kinds: Sequence[Kind],
) -> PageSample:
    taken = {line.removeprefix("- ") for line in text.split("\n")}
    flat = " ".join(text.split())
    is_taken = [line in taken or (len(line) > _SHORT and line in flat) for line in seen]
    (identity, after, *seen), _ = mask([identity, text[: _TAKEN + _MARGIN], *seen], kinds)
    return PageSample(
        id=identity,
        before=_cut(_folded(list(zip(seen, is_taken, strict=True)))),
        after=after[:_TAKEN],
        more=len(text) > _TAKEN,
        characters=(sum(map(len, seen)), len(text)),
        left_out=fate,
    )


def _folded(lines: list[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    """The same lines; of a long run of lines that were not taken only its ends."""
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end][1] == lines[start][1]:
            end += 1
        run = lines[start:end]
        if not run[0][1] and len(run) > _RUN:
            side = (_RUN - 1) // 2
            run = [*run[:side], (f"… {len(run) - 2 * side:,} lines …", False), *run[-side:]]
        yield from run
        start = end


def _cut(lines: Iterator[tuple[str, bool]]) -> list[tuple[str, bool]]:
    kept: list[tuple[str, bool]] = []
    left = _SEEN
    for line, taken in lines:
        kept.append((line[:left], taken))
        left -= len(line)
        if left <= 0:
            break
    return kept


def _is_chinese(text: str) -> bool:
    counts = count_scripts([text[:10_000]])[0]
    han = counts[[HAN, HAN_SIMPLIFIED, HAN_TRADITIONAL]].sum()
    return bool(han > _CHINESE * (counts.sum() - counts[OTHER]))
