"""Seams: places inside a word that no token reaches across.

Byte-level BPE merges inside a word, and what it merges is a token. So where no token holds the end
of one character and the beginning of the next, the word may be cut, and its parts encoded each by
itself: the tokens are the same. Chinese writes no spaces, and a clause, which is one word, hardly
ever comes twice; its parts between seams, of one to four characters, do.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

_BITS = 20
_FACTORS = 0x9E3779B1, 0x85EBCA77  # odd


class Seams:
    """Which pairs of characters tokens hold. A pair may be thought held that is not (Bloom 1970),
    which costs a seam; never the other way round."""

    def __init__(self, tokens: Iterable[bytes]) -> None:
        """`tokens`: those of more than one byte; others reach across nothing."""
        self._pairs = np.zeros(1 << _BITS, bool)
        self._bytes = np.zeros(1 << 16, bool)  # where a token has a character only in part
        whole: list[str] = []
        for token in tokens:
            text = token.decode("utf-8", "surrogateescape")
            if text.isascii():
                continue  # seams are looked for beside other characters only
            if not any(map(_is_byte, text)):
                whole.append(text)
                continue
            for left, right in pairwise(text):
                if _is_byte(left) or _is_byte(right):
                    self._bytes[_utf8(left)[-1] << 8 | _utf8(right)[0]] = True
                else:
                    whole.append(left + right)
        codes = np.frombuffer("".join(whole).encode("utf-32-le"), np.uint32)
        ends = np.cumsum(np.fromiter(map(len, whole), np.int64, len(whole))) - 1
        begins = ends - np.diff(ends, prepend=-1) + 1
        self._pairs[_slots(np.delete(codes, ends), np.delete(codes, begins))] = True

    def between(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Whether there is a seam between two characters, (P,) bool for (P,) code points each."""
        held = self._pairs[_slots(left, right)]
        held |= self._bytes[_last_bytes(left) << 8 | _first_bytes(right)]
        return ~held


def _is_byte(letter: str) -> bool:
    """Whether it stands for a byte of a character that the token holds in part."""
    return "\udc80" <= letter <= "\udcff"


def _utf8(letter: str) -> bytes:
    return letter.encode("utf-8", "surrogateescape")


def _slots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(P,) places in the table of pairs."""
    first, second = map(np.uint32, _FACTORS)
    mixed = left.astype(np.uint32) * first + right.astype(np.uint32) * second
    return mixed >> np.uint32(32 - _BITS)


def _last_bytes(codes: np.ndarray) -> np.ndarray:
    """(P,) uint32: the last byte of each character in UTF-8."""
    return np.where(codes < 0x80, codes, codes & np.uint32(0x3F) | np.uint32(0x80))


def _first_bytes(codes: np.ndarray) -> np.ndarray:
    two, three, four = codes >> np.uint32(6), codes >> np.uint32(12), codes >> np.uint32(18)
    return np.select(
        [codes < 0x80, codes < 0x800, codes < 0x10000],
        [codes, two | np.uint32(0xC0), three | np.uint32(0xE0)],
        four | np.uint32(0xF0),
    )
