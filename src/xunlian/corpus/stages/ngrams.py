"""Texts as hashes of n consecutive tokens, for a whole batch at once.

What finding duplicates and evaluation data share:

- A *token* is a run of letters, digits and marks, whatever its case and width, or one character of
  a script that writes no spaces (Chinese, Japanese, Thai, ...), so that English and Chinese go the
  same way. Punctuation and space separate tokens and count for nothing.
- Everything is array work on the joined batch: one table lookup for a character, then polynomial
  hashes modulo 2^64 out of prefix sums (Karp and Rabin, 1987), where any run's hash is a
  difference of two sums, shifted to the start by the inverse of the base.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

BLOCK = 1 << 18
"""Characters handled at once: the arrays (8 bytes a character) then stay in the cache."""

WORD = np.uint32(1 << 21)
ALONE = np.uint32(1 << 22)
SPACE = np.uint32(1 << 23)
"""Flags of a folded character, above the 21 bits of its code point: part of a token; a token by
itself; white space."""
LINE_FEED = ord("\n") | SPACE

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 1 << 64)
# Scripts without spaces between words; those in _PLAIN are neither folded nor looked up.
_NO_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFD),
)
_PLAIN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x3FFFD))
_UNASSIGNED = ((0xD800, 0xF8FF), (0x1FC00, 0x1FFFF), (0x3FFFE, 0x10FFFF))


class Folded(NamedTuple):
    """The characters of some texts, each followed by one separator.

    characters: (C,) uint32: the folded code point with its flags.
    ends: (D,) int64: where each text ends (its separator's place).
    """

    characters: np.ndarray
    ends: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return np.concatenate(([0], self.ends + 1))[:-1]


class Tokens(NamedTuple):
    """hashes: (T,) uint64, one a token; counts: (D,) int64, tokens of each text."""

    hashes: np.ndarray
    counts: np.ndarray


def blocks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """(number of the first, texts), of about `BLOCK` characters."""
    first = size = 0
    for i, text in enumerate(texts):
        if size and size + len(text) > BLOCK:
            yield first, texts[first:i]
            first, size = i, 0
        size += len(text) + 1
    if first < len(texts):
        yield first, texts[first:]


def fold(texts: Sequence[str]) -> Folded:
    """Without case and width (compatibility forms of one character), with their classes."""
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return Folded(_table()[codes], np.cumsum(lengths + 1) - 1)


def tokenize(folded: Folded) -> Tokens:
    """The hash of each token, in order."""
    characters, ends = folded
    is_word, starts = _starts(characters)
    if not len(starts):
        return Tokens(np.zeros(0, np.uint64), np.zeros(len(ends), np.int64))
    powers, inverses = _powers(len(characters))
    # What is no part of a token adds zero, so a token's sum may run on to the next one's start.
    values = np.where(is_word, characters, np.uint32(0)) * powers[: len(characters)]
    hashes = mix(np.add.reduceat(values, starts) * inverses[starts])
    return Tokens(hashes, np.diff(np.searchsorted(starts, ends), prepend=0))


def count_tokens(folded: Folded) -> np.ndarray:
    """(D,) int64: tokens of each text."""
    return np.diff(np.searchsorted(_starts(folded.characters)[1], folded.ends), prepend=0)


def _starts(characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((C,) whether it is part of a token; where tokens begin)."""
    is_word = (characters & WORD) != 0
    alone = (characters & ALONE) != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1] | alone[1:] | alone[:-1]
    return is_word, np.flatnonzero(begins)


def ngrams(tokens: Tokens, n: int, whole: bool = True) -> Tokens:
    """The hash of every `n` consecutive tokens of a text.

    Args:
        whole: a text of fewer than `n` tokens (but at least one) gives one n-gram, all of it.
    """
    hashes, counts = tokens
    stops = np.cumsum(counts)
    grams = np.maximum(counts - n + 1, 0)
    if whole:
        grams = np.maximum(grams, counts > 0)
    total = int(grams.sum())
    powers, inverses = _powers(len(hashes))
    sums = np.zeros(len(hashes) + 1, np.uint64)
    np.cumsum(hashes * powers[: len(hashes)], out=sums[1:])
    shift = stops - counts - (np.cumsum(grams) - grams)
    starts = np.arange(total) + np.repeat(shift, grams)
    ends = np.minimum(starts + n, np.repeat(stops, grams))
    return Tokens(mix((sums[ends] - sums[starts]) * inverses[starts]), grams)


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble (N,) uint64, in place: every bit out depends on every bit in.

    The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@cache
def _powers_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    result = []
    for base in (_BASE, _INVERSE):
        powers = np.full(size, base, np.uint64)
        powers[0] = 1
        result.append(np.multiply.accumulate(powers))
    return result[0], result[1]


def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the base and of its inverse, `size` or more of each."""
    return _powers_of(max(2 * BLOCK, 1 << size.bit_length()))


@cache
def _table() -> np.ndarray:
    """(0x110000,) uint32: what each code point is folded to, with its flags."""
    table = np.arange(0x110000, dtype=np.uint32)
    looked_up = np.ones(0x110000, bool)
    for first, last in _PLAIN:
        table[first : last + 1] |= WORD
        looked_up[first : last + 1] = False
    for first, last in _UNASSIGNED:
        looked_up[first : last + 1] = False
    for code in np.flatnonzero(looked_up).tolist():
        character = chr(code)
        folded = unicodedata.normalize("NFKC", character).casefold()
        if len(folded) != 1:
            folded = character
        if character == "\n":
            table[code] = LINE_FEED
        elif character.isspace():
            table[code] = ord(" ") | SPACE
        elif unicodedata.category(character)[0] in "LNM" or character == "_":
            table[code] = ord(folded) | WORD
        else:
            table[code] = ord(folded)
    for first, last in _NO_SPACES:
        script = table[first : last + 1]
        script[(script & WORD) != 0] |= ALONE
    return table
