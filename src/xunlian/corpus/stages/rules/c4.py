"""C4's rules (arXiv 1910.10683, section 2.2): they drop lines, and documents of too little left.

As FineWeb does, a line need not end in a punctuation mark unless that is asked for: C4's own rule
costs every heading, list and verse.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.characters import ENDS_SENTENCE, PUNCTUATION, SUBSTANCE
from xunlian.corpus.stages.rules.limits import Limits
from xunlian.corpus.stages.rules.table import Table

Flags = NDArray[np.bool_]

_LONGEST_WORD = 1000
_CITATION = re.compile(r"\[(?:[0-9]{0,4}|edit|citation needed|编辑|編輯|来源请求|來源請求)\]")
_SCRIPT = "javascript"
_FILLER = "lorem ipsum"
_POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
    # Their counterparts, and the number that a Chinese page must show at its foot.
    "使用条款",
    "使用條款",
    "服务条款",
    "服務條款",
    "隐私政策",
    "隱私政策",
    "隐私权政策",
    "隱私權政策",
    "cookie政策",
    "使用cookie",
    "icp备",
    "icp證",
    "icp证",
)
_PHRASES = (_SCRIPT, _FILLER, *_POLICY, "{")
_ANY = re.compile("|".join(map(re.escape, _PHRASES)), re.IGNORECASE)
# One of these is in each of them: few to look for, and most texts have none.
_ASCII_PARTS = (_SCRIPT, _FILLER, "terms of use", "privacy policy", "cookie")
_CHINESE_PARTS = ("条款", "條款", "隐私", "隱私", "icp")


@dataclass(frozen=True)
class Lines:
    """What C4's rules say of the lines (L,) and the documents (D,) of a table."""

    kept: Flags
    filled: Flags
    broken: dict[str, Flags]
    dropped: dict[str, NDArray[np.int64]]
    """How many lines (D,) were dropped for each reason."""


def remove_citations(texts: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The texts without [12], [edit], [citation needed]; and how many each had."""
    pairs = [_CITATION.subn("", text) if "[" in text else (text, 0) for text in texts]
    return [text for text, _ in pairs], np.array([count for _, count in pairs], np.int64)


def c4(table: Table, limits: Limits, end_marks: bool) -> Lines:
    """Judge every line.

    Args:
        end_marks: drop lines that do not end in a punctuation mark.
    """
    lines = table.lines
    bounds = table.chunk_bounds_of_lines
    chunks = np.diff(bounds)
    filled = chunks > 0
    word_bounds = table.word_bounds_of_lines
    words = np.diff(word_bounds) if limits.count_signs else chunks
    left = filled.copy()
    dropped: dict[str, NDArray[np.int64]] = {}

    def drop(name: str, flags: Flags) -> None:
        nonlocal left
        dropped[name] = lines.total((left & flags).astype(np.int64))
        left = left & ~flags

    if not limits.count_signs:  # there are no spaces between Chinese words
        drop("lines_with_long_word", _with_long_word(table))
    if end_marks:
        drop("lines_without_end_mark", ~_with_end_mark(table, filled, limits))
    drop("lines_of_few_words", words < limits.least_words_in_line)
    found = _phrases(table, limits.count_signs)
    filler = left & found[_FILLER]
    drop("lines_on_javascript", found[_SCRIPT])
    curly = np.zeros(len(left), bool)
    if limits.curly_drops_document:
        curly = left & found["{"]
    else:
        drop("lines_with_curly_bracket", found["{"])
    drop("lines_on_policy", found["policy"])
    sentences = lines.total(_sentences(table, word_bounds) * left)
    broken = {
        "lorem_ipsum": lines.total(filler.astype(np.int64)) > 0,
        "curly_bracket": lines.total(curly.astype(np.int64)) > 0,
        "too_few_sentences": sentences < limits.least_sentences,
    }
    return Lines(left, filled, broken, dropped)


def kept_texts(table: Table, lines: Lines) -> list[str]:
    """The texts without the dropped lines; the very same where none was dropped.

    Blank lines stay, one at most where lines between them went.
    """
    lost = lines.filled & ~lines.kept
    documents = np.flatnonzero(table.lines.total(lost.astype(np.int64)))
    result = list(table.texts)
    starts, ends, bounds = table.lines.starts, table.lines.ends, table.lines.bounds
    for document in documents.tolist():
        here = slice(bounds[document], bounds[document + 1])
        at = int(table.starts[document])
        text = table.texts[document]
        stay = ~lost[here]
        pairs = zip(
            (starts[here][stay] - at).tolist(), (ends[here][stay] - at).tolist(), strict=True
        )
        joined = "\n".join([text[start:end] for start, end in pairs])
        if "\n\n\n" in joined:
            joined = re.sub(r"\n{3,}", "\n\n", joined)
        result[document] = joined.strip("\n")
    return result


def _with_long_word(table: Table) -> Flags:
    flags = np.zeros(len(table.lines.starts), bool)
    long = np.flatnonzero(table.chunks.lengths > _LONGEST_WORD)
    flags[np.searchsorted(table.chunk_bounds_of_lines, long, "right") - 1] = True
    return flags


def _with_end_mark(table: Table, filled: Flags, limits: Limits) -> Flags:
    flags = np.zeros(len(filled), bool)
    last = table.chunks.ends[table.chunk_bounds_of_lines[1:][filled] - 1] - 1
    codes = table.codes
    marked = np.isin(codes[last], [ord(mark) for mark in limits.end_marks])
    dots = codes[last] == ord(".")
    for back in (1, 2):
        dots &= codes[np.maximum(last - back, 0)] == ord(".")
    flags[filled] = marked & ~dots
    return flags


def _phrases(table: Table, chinese: bool) -> dict[str, Flags]:
    """The lines in which each of the phrases stands."""
    size = len(table.lines.starts)
    places: dict[str, list[int]] = {name: [] for name in (_SCRIPT, _FILLER, "policy", "{")}
    parts = _ASCII_PARTS + (_CHINESE_PARTS if chinese else ())
    for document, text in enumerate(table.texts):
        low = text.lower()
        if "{" in low or any(part in low for part in parts):
            start = int(table.starts[document])
            for name, place in _occurrences(text, low):
                places[name if name in places else "policy"].append(start + place)
    found = {}
    for name, at in places.items():
        found[name] = np.zeros(size, bool)
        found[name][np.searchsorted(table.lines.starts, at, "right") - 1] = True
    return found


def _occurrences(text: str, low: str) -> Iterator[tuple[str, int]]:
    """Each phrase in `text`, whose lower case is `low`, and where it begins."""
    if len(low) != len(text):  # some letters have a longer lower case: places would shift
        yield from ((match.group().lower(), match.start()) for match in _ANY.finditer(text))
        return
    for phrase in _PHRASES:
        place = low.find(phrase)
        while place >= 0:
            yield phrase, place
            place = low.find(phrase, place + 1)


def _sentences(table: Table, word_bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """(L,) sentences of each line: one more than words that follow the end of another sentence."""
    word_traits = table.word_traits
    single = table.words.lengths == 1
    ends = single & ((word_traits & ENDS_SENTENCE) > 0)
    passed = np.concatenate([[0], np.cumsum(ends)])
    mark = ((word_traits & PUNCTUATION) > 0) & ((word_traits & SUBSTANCE) == 0)
    solid = np.flatnonzero(~mark)
    counts = np.diff(word_bounds)
    line = np.repeat(np.arange(len(counts)), counts)[solid]
    previous = np.empty(len(solid), np.int64)
    previous[1:] = passed[solid[:-1]]
    new_line = np.ones(len(solid), bool)
    new_line[1:] = line[1:] != line[:-1]
    previous[new_line] = passed[word_bounds[line[new_line]]]
    begins = passed[solid] > previous
    sentences = np.bincount(line[begins], minlength=len(counts))
    return sentences + (counts > 0)
