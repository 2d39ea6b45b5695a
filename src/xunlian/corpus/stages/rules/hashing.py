"""Hashes of any stretch of a batch of text, from one running sum.

The polynomial hash of Rabin and Karp modulo 2^64: with H[i] = sum of c[k] * B^k for k < i, the
stretch from s to e has the hash (H[e] - H[s]) * B^-s, whatever stands around it (B is odd, so it
has an inverse). Equal texts have equal hashes in every batch; unequal ones of ordinary text differ
but for a chance of about 2^-60.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_MIX = np.uint64(0xD6E8FEB86659FD93)


@cache
def _powers(size: int) -> tuple[U64, U64]:
    """(size,) powers of the base and of its inverse."""
    inverse = pow(_BASE, -1, 1 << 64)
    tables = []
    for base in (_BASE, inverse):
        table = np.full(size, base, np.uint64)
        table[0] = 1
        tables.append(np.cumprod(table, dtype=np.uint64))
    return tables[0], tables[1]


class Hasher:
    """Hashes of stretches of `codes`, (N,) code points."""

    def __init__(self, codes: NDArray[np.uint32]) -> None:
        # The tables grow by doubling, so that batches of nearly one size share them.
        powers, self._inverse = _powers(1 << max(16, len(codes).bit_length()))
        self._sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(np.multiply(codes, powers[: len(codes)]), out=self._sums[1:])

    def of(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> U64:
        """(K,) hashes of the stretches from `starts` to `ends`."""
        return mix((self._sums[ends] - self._sums[starts]) * self._inverse[starts])


def mix(hashes: U64) -> U64:
    """Spread the entropy over all bits: the low bits of a polynomial hash are weak."""
    hashes = hashes ^ (hashes >> np.uint64(32))
    hashes *= _MIX
    hashes ^= hashes >> np.uint64(32)
    return hashes


@cache
def hash_text(text: str) -> int:
    """The hash that `Hasher.of` gives for `text`."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    ends = np.array([len(codes)], np.int64)
    return int(Hasher(codes).of(ends * 0, ends)[0])


def hash_texts(texts: list[str]) -> U64:
    """(K,) sorted hashes of `texts`, for `np.isin`."""
    return np.array(sorted({hash_text(text) for text in texts}), np.uint64)
