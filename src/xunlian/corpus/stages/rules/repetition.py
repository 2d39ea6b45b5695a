"""Gopher's rules against repetition (arXiv 2112.11446, table A1).

Duplicates are found by sorting hashes; the document's number stands in a hash's upper bits, so one
sort serves the whole batch. The count of duplicate n-grams depends on the order (what was counted
is jumped over), so a loop is needed; only documents of which duplicate n-grams cover enough that
the rule could apply are walked through, a few in a hundred.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.hashing import U64, mix
from xunlian.corpus.stages.rules.limits import Limits
from xunlian.corpus.stages.rules.table import NEWLINE, Spans, Table

Numbers = NDArray[Any]
Flags = NDArray[np.bool_]

_DOCUMENT_BITS = 20  # of a sorting key; 44 are left for the hash


def repetition(table: Table, limits: Limits, settled: Flags | None = None) -> dict[str, Flags]:
    """For each rule, in the order in which they are asked, the documents (D,) that break it.

    Args:
        settled: (D,) documents that are dropped already. They, and those that broke another rule
            here, are not asked for duplicate n-grams any more.
    """
    characters = np.maximum(table.lengths, 1)
    broken: dict[str, Flags] = {}
    for name, spans in (("paragraph", paragraphs(table)), ("line", filled_lines(table))):
        count, length = duplicates(table, spans)
        total = np.maximum(spans.counts, 1)
        broken[f"duplicate_{name}s"] = count / total > limits.duplicate_lines
        broken[f"duplicate_{name}_characters"] = (
            length / characters > limits.duplicate_line_characters
        )
    grams = Grams(table)
    for n, limit in limits.top_grams:
        broken[f"top_{n}_gram"] = grams.top(n, spaces=not limits.count_signs) / characters > limit
    opened = ~np.logical_or.reduce(list(broken.values()))
    if settled is not None:
        opened &= ~settled
    for n, limit in limits.duplicate_grams:
        failed = np.zeros(len(table.texts), bool)
        if opened.any():
            suspects = np.flatnonzero(opened & (grams.covered(n) / characters > limit))
            failed[suspects] = grams.repeated(n, suspects) / characters[suspects] > limit
            opened &= ~failed
        broken[f"duplicate_{n}_grams"] = failed
    return broken


def filled_lines(table: Table) -> Spans:
    """Lines with more than white space in them."""
    return table.lines.select(np.diff(table.chunk_bounds_of_lines) > 0)


def paragraphs(table: Table) -> Spans:
    """What stands between two or more line feeds, without the white space around the text."""
    chunks = table.chunks
    some = chunks.counts > 0
    begin = chunks.starts[chunks.bounds[:-1][some]]
    end = chunks.ends[chunks.bounds[1:][some] - 1]
    feeds = np.flatnonzero(table.codes == NEWLINE)
    follows = np.zeros(len(feeds) + 1, bool)
    follows[1:-1] = feeds[1:] == feeds[:-1] + 1
    row_starts = feeds[~follows[:-1] & follows[1:]]
    row_ends = feeds[follows[:-1] & ~follows[1:]] + 1
    # Only rows within a text part paragraphs, not those around it.
    if len(begin):
        owner = np.maximum(np.searchsorted(begin, row_starts, "right") - 1, 0)
        inside = (row_starts > begin[owner]) & (row_ends <= end[owner])
    else:
        inside = np.zeros(len(row_starts), bool)
    starts = np.sort(np.concatenate([begin, row_ends[inside]]))
    ends = np.sort(np.concatenate([end, row_starts[inside]]))
    return table.spans(starts, ends)


def duplicates(table: Table, spans: Spans) -> tuple[Numbers, Numbers]:
    """How many stretches of each document stood in it before, and their characters: (D,) each."""
    hashes = table.hasher.of(spans.starts, spans.ends)
    order, first = _runs(_keys(hashes, spans.documents))
    repeated = np.ones(len(order), bool)
    repeated[order[first]] = False
    return spans.total(repeated.astype(np.int64)), spans.total(spans.lengths * repeated)


def _keys(hashes: U64, documents: Numbers) -> U64:
    shift = np.uint64(64 - _DOCUMENT_BITS)
    return (documents.astype(np.uint64) << shift) | (hashes >> np.uint64(_DOCUMENT_BITS))


def _runs(keys: U64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order that sorts `keys`, and where in it each run of equal keys begins."""
    order = np.argsort(keys)
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(new)


def _perhaps_repeated(keys: U64) -> Flags:
    """Whether each key may stand there twice: a table of what was last seen finds most that don't.

    It takes a fifth of the time of sorting them.
    """
    bits = max(10, len(keys).bit_length() + 2)
    buckets = keys >> np.uint64(64 - bits)
    numbers = np.arange(len(keys), dtype=np.int32)
    last = np.empty(1 << bits, np.int32)
    last[buckets] = numbers
    shared = np.zeros(1 << bits, bool)
    shared[buckets[last[buckets] != numbers]] = True
    return shared[buckets]


@dataclass(frozen=True)
class Runs:
    """The n-grams that stand in a document twice or more: (R,) each, in no order."""

    documents: NDArray[np.int64]
    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    """Words at which they first begin."""
    again: NDArray[np.int64]
    """(A,) words at which one begins that stood in the document before."""
    places: Flags
    """(W + 1,) whether one begins at a word."""


class Grams:
    """The n-grams of words of a table.

    An n-gram can only come again where both shorter ones in it do, so after the pairs there is
    little to sort.
    """

    def __init__(self, table: Table) -> None:
        self.words = table.words
        self.hashes = table.word_hashes
        self.lengths = self.words.lengths
        self._ends = np.concatenate([[0], np.cumsum(self.lengths)])
        self._documents = self.words.documents
        self._found: dict[int, Runs] = {}
        self._candidates: dict[int, tuple[NDArray[np.int64], U64]] = {}
        """Words from which the n-gram may come again, as both shorter ones in it do; its hashes."""

    def runs(self, n: int) -> Runs:
        """The n-grams, n >= 2, that come again."""
        if n not in self._found:
            self._found[n] = self._search(n)
        return self._found[n]

    def _search(self, n: int) -> Runs:
        if n == 2:
            hashes = _longer(self.hashes[:-1], self.hashes[1:])
            keys = _keys(hashes, self._documents[:-1])
            within = self._documents[:-1] == self._documents[1:]
            at = np.flatnonzero(_perhaps_repeated(mix(keys)) & within)
            hashes, keys = hashes[at], keys[at]
        else:
            shorter = self.runs(n - 1).places
            at, hashes = self._candidates[n - 1]
            chosen = shorter[at] & shorter[at + 1]
            at = at[chosen]
            hashes = _longer(hashes[chosen], self.hashes[at + n - 1])
            keys = _keys(hashes, self._documents[at])
        self._candidates[n] = at, hashes
        order, first = _runs(keys)
        counts = np.diff(first, append=len(order))
        earliest = np.minimum.reduceat(order, first) if len(first) else first
        many = counts > 1
        firsts = at[earliest[many]]
        places = np.zeros(len(self.hashes) + 1, bool)  # one more: a last word has none behind it
        places[at[order[np.repeat(many, counts)]]] = True
        again = places.copy()
        again[firsts] = False
        return Runs(self._documents[firsts], counts[many], firsts, np.flatnonzero(again), places)

    def top(self, n: int, spaces: bool = True) -> Numbers:
        """(D,) characters, with spaces between words, of the most frequent n-gram, times its count.

        Of equally frequent ones the first counts.
        """
        runs = self.runs(n)
        bounds = self.words.bounds
        enough = self.words.counts >= n
        highest = enough.astype(np.int64)
        np.maximum.at(highest, runs.documents, runs.counts)
        best = runs.counts == highest[runs.documents]
        # Where nothing comes again, the first n-gram is the most frequent one.
        where = np.where(highest > 1, len(self.hashes), bounds[:-1])
        np.minimum.at(where, runs.documents[best], runs.firsts[best])
        where = np.where(enough, where, 0)
        ends = self._ends[np.minimum(where + n, len(self.hashes))]
        return (ends - self._ends[where] + (n - 1 if spaces else 0)) * highest

    def covered(self, n: int) -> Numbers:
        """(D,) characters in n-grams that stood in the document before: no less than repeated."""
        again = self.runs(n).again
        inside = np.zeros(len(self.hashes), bool)
        for offset in range(n):
            inside[again + offset] = True
        return self.words.total(self.lengths * inside)

    def repeated(self, n: int, documents: Numbers) -> Numbers:
        """Characters of the n-grams that stood before, each jumped over once it is counted.

        Args:
            documents: which to count in; as many results.
        """
        result = np.zeros(len(documents), np.int64)
        for index, document in enumerate(documents.tolist()):
            start, stop = self.words.bounds[document : document + 2].tolist()
            grams = self._in_row(start, stop, n).tolist()
            ends = self._ends[start : stop + 1].tolist()
            seen: set[int] = set()
            position = 0
            while position < len(grams):
                gram = grams[position]
                if gram in seen:
                    result[index] += ends[position + n] - ends[position]
                    position += n
                else:
                    seen.add(gram)
                    position += 1
        return result

    def _in_row(self, start: int, stop: int, n: int) -> U64:
        """Hashes of all sequences of n words from `start` to `stop`."""
        hashes = self.hashes[start:stop]
        for offset in range(1, n):
            hashes = _longer(hashes[:-1], self.hashes[start + offset : stop])
        return hashes


def _longer(sequences: U64, words: U64) -> U64:
    """Hashes of sequences with one more word."""
    return mix(sequences * np.uint64(31)) + words
