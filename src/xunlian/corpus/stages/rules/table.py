"""A batch of texts as arrays: its words, lines and documents, found without a loop over them.

The words are those of spaCy's English tokenizer (on which datatrove's rules stand) but for rare
cases, with characters for the words of Chinese and Japanese. Every rule reads this table, so the
text is looked at once.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.characters import ALPHABETIC, SUBSTANCE, kinds, traits
from xunlian.corpus.stages.rules.hashing import U64, Hasher
from xunlian.corpus.stages.rules.split import split_words

Ints = NDArray[np.int64]
Numbers = NDArray[Any]
NEWLINE = 10


@dataclass(frozen=True)
class Spans:
    """K stretches of the batch's characters, in order, and where each document's begin.

    `bounds` is (D + 1,): the stretches of document d are bounds[d] to bounds[d + 1].
    """

    starts: Ints
    ends: Ints
    bounds: Ints

    @property
    def lengths(self) -> Ints:
        return self.ends - self.starts

    @property
    def counts(self) -> Ints:
        """(D,) stretches a document."""
        return np.diff(self.bounds)

    @cached_property
    def documents(self) -> Ints:
        """(K,) the document of each stretch."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.counts)

    def total(self, values: Numbers) -> Numbers:
        """(D,) sums of `values`, (K,), over each document's stretches."""
        some = self.bounds[1:] > self.bounds[:-1]  # an empty stretch of an array has no sum there
        kind = np.result_type(values, np.int64)
        result = np.zeros(len(some), kind)
        if len(values):
            result[some] = np.add.reduceat(values, self.bounds[:-1][some], dtype=kind)
        return result

    def select(self, keep: NDArray[np.bool_]) -> "Spans":
        """The stretches where `keep`, (K,), is set."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Spans(self.starts[keep], self.ends[keep], kept[self.bounds])


class Table:
    """The arrays of `texts`; characters are counted in code points.

    Between the documents stands a line feed of nobody's.
    """

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        joined = "\n".join(texts) + "\n"
        self.codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        lengths = np.array([len(text) for text in texts], np.int64)
        self.lengths = lengths
        self.starts: Ints = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
        self.ends: Ints = self.starts + lengths
        self.kinds = kinds()[self.codes]
        self.traits = traits()[self.codes]
        self.hasher = Hasher(self.codes)

    def spans(self, starts: Ints, ends: Ints) -> Spans:
        """Stretches that lie in documents, in order."""
        bounds = np.append(np.searchsorted(starts, self.starts), len(starts))
        return Spans(starts, ends, bounds)

    @cached_property
    def chunks(self) -> Spans:
        """What stands between white space."""
        blank = self.kinds == 0
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
        if not blank[0]:
            edges = np.concatenate([[0], edges])
        # The last character is a line feed: what begins ends.
        return self.spans(edges[0::2], edges[1::2])

    @cached_property
    def words(self) -> Spans:
        """Words and signs. Together they are all that is no white space."""
        return self.spans(*split_words(self.codes, self.kinds, self.chunks.starts, self.hasher))

    @cached_property
    def word_hashes(self) -> U64:
        return self.hasher.of(self.words.starts, self.words.ends)

    @cached_property
    def word_traits(self) -> NDArray[np.uint8]:
        """(W,) the traits that any character of the word has."""
        if not len(self.words.starts):
            return np.zeros(0, np.uint8)
        # The white space behind a word has no traits.
        return np.bitwise_or.reduceat(self.traits, self.words.starts)

    @cached_property
    def lines(self) -> Spans:
        """All lines, empty ones too: what stands between line feeds. A text has at least one."""
        ends = np.flatnonzero(self.codes == NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        return self.spans(starts, ends)

    @cached_property
    def chunk_bounds_of_lines(self) -> Ints:
        """(lines + 1,) where the chunks of each line begin."""
        starts = np.append(self.lines.starts, len(self.codes))
        return np.searchsorted(self.chunks.starts, starts)

    @cached_property
    def word_bounds_of_lines(self) -> Ints:
        """(lines + 1,) where the words of each line begin."""
        return np.searchsorted(self.words.starts, np.append(self.lines.starts, len(self.codes)))

    @cached_property
    def substantial(self) -> NDArray[np.bool_]:
        """(W,) words that are no mere symbols."""
        return (self.word_traits & SUBSTANCE) > 0

    @cached_property
    def alphabetic(self) -> NDArray[np.bool_]:
        """(W,) words with a letter."""
        return (self.word_traits & ALPHABETIC) > 0
