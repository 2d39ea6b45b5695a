"""Words whose ids are known: looked up as numbers, many at once.

A word of up to 15 bytes is, with its length, a number of 128 bits. So words are compared exactly
and in arrays, in a table with one place for each hash (5 MB, which stays in the processor's cache);
what is not found there is looked up in a dict, and what is not there either is encoded.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_SHORT = 15  # bytes of a word that fit into a key beside its length
_PLACES = 18  # bits
_MOST = 1 << 18  # words that are remembered, about 50 MB; a block's more at most
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd

Encode = Callable[[list[bytes]], tuple[np.ndarray, np.ndarray]]
"""Words in UTF-8 -> (ids of all, (T,) int32; how many each word has, (W,))."""


class _Numbers(dict[bytes, int]):
    """The numbers of words. A new word gets the next one and is put into `new`."""

    def __init__(self) -> None:
        self.new: list[bytes] = []

    def __missing__(self, word: bytes) -> int:
        self.new.append(word)
        self[word] = number = len(self)
        return number


class KnownWords:
    """Words in UTF-8 and their ids."""

    def __init__(self, encode: Encode) -> None:
        """`encode` is asked for the ids of each word that is not known."""
        self._encode = encode
        self._forget()

    def _forget(self) -> None:
        self._numbers = _Numbers()
        self._ids = np.zeros(0, np.int32)  # of all words, one after the other
        self._sizes = np.zeros(0, np.int32)  # (N,) how many a word has
        self._ends = np.zeros(0, np.int64)  # (N,) where they end
        self._low, self._high = np.zeros((2, 1 << _PLACES), np.uint64)
        self._number = np.zeros(1 << _PLACES, np.int32)

    def ids(
        self, data: bytes, firsts: np.ndarray, sizes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(the ids of all words, (T,) int32; (W + 1,) where those of each begin, and the end).

        Args:
            firsts, sizes: (W,) where each word begins in `data`, and its bytes (1 at least).
        """
        numbers = self._find(data, firsts, sizes)
        counts = self._sizes[numbers]
        bounds = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=bounds[1:])
        # From the place of an id in the result to its place among those of the known words.
        shift = self._ends[numbers] - bounds[1:]
        return self._ids[np.repeat(shift, counts) + np.arange(bounds[-1])], bounds

    def _find(self, data: bytes, firsts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        if len(self._numbers) > _MOST:
            self._forget()
        low, high = _keys(data, firsts, sizes)
        places = (low * _FACTORS[0] + high * _FACTORS[1]) >> np.uint64(64 - _PLACES)
        numbers = self._number[places]
        absent = np.flatnonzero((self._low[places] != low) | (self._high[places] != high))
        spans = zip(firsts[absent].tolist(), sizes[absent].tolist(), strict=True)
        words = [data[first : first + size] for first, size in spans]
        found = np.fromiter(map(self._numbers.__getitem__, words), np.int32, len(words))
        self._learn()
        numbers[absent] = found
        short = sizes[absent] <= _SHORT
        kept = absent[short]
        places = places[kept]
        self._low[places], self._high[places] = low[kept], high[kept]
        self._number[places] = found[short]
        return numbers

    def _learn(self) -> None:
        new, self._numbers.new = self._numbers.new, []
        if new:
            ids, counts = self._encode(new)
            ends = len(self._ids) + np.cumsum(counts)
            self._ids = np.concatenate((self._ids, ids))
            self._sizes = np.concatenate((self._sizes, counts.astype(np.int32)))
            self._ends = np.concatenate((self._ends, ends))


def _keys(data: bytes, firsts: np.ndarray, sizes: np.ndarray) -> tuple[U64, U64]:
    """(W,) uint64 twice: the bytes of each word and its length; of a longer word its beginning and
    a length that no word in the table has."""
    windows = np.ndarray((len(data),), "V16", data + bytes(16), strides=(1,))
    low, high = windows[firsts].view("<u8").reshape(-1, 2).T
    lengths = np.minimum(sizes, _SHORT + 1)
    low = low & _MASKS[np.minimum(lengths, 8)]
    high = high & _MASKS[np.clip(lengths - 8, 0, 7)]
    return low, high | (lengths.astype(np.uint64) << np.uint64(56))
