"""Gopher's rules for the quality of a document (arXiv 2112.11446, appendix A1.1)."""

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.hashing import hash_text
from xunlian.corpus.stages.rules.limits import Limits
from xunlian.corpus.stages.rules.table import Table

_BULLETS = [ord(mark) for mark in "•-"]


def gopher(table: Table, limits: Limits) -> dict[str, NDArray[np.bool_]]:
    """For each rule, in the order in which they are asked, the documents (D,) that break it."""
    words = table.words
    total = np.maximum(words.counts, 1)
    real = words.total(table.substantial.astype(np.int64))
    length = mean_word_length(table)
    # Finding a character in a text takes less than a look at its every character.
    hashes = np.array([text.count("#") for text in table.texts])
    dots = np.array([text.count("...") + text.count("…") for text in table.texts])
    shortest, longest = limits.word_length
    broken = {
        "too_few_words": real < limits.least_words,
        "too_many_words": real > limits.most_words,
        "short_words": length < shortest,
        "long_words": length > longest,
        "hash_signs": hashes / total > limits.symbols_a_word,
        "ellipses": dots / total > limits.symbols_a_word,
    }
    bullets, ellipses = _lines(table)
    lines = np.maximum(_line_count(table), 1)
    broken["bullet_lines"] = bullets / lines > limits.bullet_lines
    broken["ellipsis_lines"] = ellipses / lines > limits.ellipsis_lines
    letters = words.total(table.alphabetic.astype(np.int64))
    broken["words_without_letters"] = letters / total < limits.words_with_letters
    broken["few_stop_words"] = _stop_words(table, limits) < limits.least_stop_words
    return broken


def mean_word_length(table: Table) -> NDArray[np.float64]:
    """(D,) characters a word that is no mere symbol."""
    real = table.words.total(table.substantial.astype(np.int64))
    characters = table.words.total(table.words.lengths * table.substantial)
    return characters / np.maximum(real, 1)


def _lines(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(D,) lines that begin with a bullet, and that end with an ellipsis."""
    bounds = table.chunk_bounds_of_lines
    filled = np.flatnonzero(np.diff(bounds))
    counts = np.zeros((2, len(bounds) - 1), np.int64)
    first = table.chunks.starts[bounds[filled]]
    last = table.chunks.ends[bounds[filled + 1] - 1] - 1
    codes = table.codes
    counts[0, filled] = np.isin(codes[first], _BULLETS)
    dots = codes[last] == ord(".")
    for back in (1, 2):
        dots &= codes[np.maximum(last - back, 0)] == ord(".")
    counts[1, filled] = dots | (codes[last] == ord("…"))
    return table.lines.total(counts[0]), table.lines.total(counts[1])


def _line_count(table: Table) -> NDArray[np.int64]:
    """(D,) lines, without the one that would begin behind a last line feed."""
    ended = np.array([text.endswith("\n") for text in table.texts])
    return table.lines.counts - ended


def _stop_words(table: Table, limits: Limits) -> NDArray[np.int64]:
    """(D,) how many different stop words occur."""
    found = np.zeros(len(table.texts), np.int64)
    for word in limits.stop_words:
        places = np.flatnonzero(table.word_hashes == np.uint64(hash_text(word)))
        having = np.zeros(len(found), bool)
        having[table.words.documents[places]] = True
        found += having
    return found
