"""What is kept of a text to find its copies: an exact hash, MinHash bands and a sketch.

- The exact hash is 128 bits of BLAKE2b over the text without case, width and the amount of space.
- MinHash (Broder, 1997) of the set of five consecutive tokens. A slot is filled by one-permutation
  hashing (Li, Owen and Zhang, NIPS 2012), where a set is too small to fill all by several rounds
  of it and at last by a hash of each slot's own: fast similarity sketching (Dahlgaard, Knudsen and
  Thorup, FOCS 2017), unbiased and as sharp as 128 hash functions at the price of about one.
- Slots are grouped in bands; texts that agree in a whole band are candidates (Indyk and Motwani,
  1998). Bands and rows follow from the similarity wanted.
- Candidates are verified by a bottom-k sketch: the 512 smallest hashes of the set, so that texts
  of up to about 512 tokens are compared exactly, and longer ones with an error of about 0.018.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xunlian.corpus.stages.exact import Paragraphs, exact_hashes
from xunlian.corpus.stages.ngrams import (
    Folded,
    blocks,
    count_tokens,
    fold,
    mix,
    ngrams,
    tokenize,
)

TOKENS = 5  # of an n-gram: what FineWeb and many others take, and for Chinese five characters
SLOTS = 128
SKETCH = 512
_RECALL = 0.99  # of pairs just at the similarity wanted, by the formula
_ROUNDS = 6  # of one-permutation hashing before the slots that are still empty get their own hash
_AT_ONCE = 1 << 18  # hashes for those slots
_BITS = np.uint64(32)  # of a hash, below the number of its text in the block
_HASH = np.uint64((1 << 32) - 1)
_SLOT = np.uint64(25)  # the 7 bits above name the slot
_EMPTY = np.uint64((1 << 64) - 1)


class Bands(NamedTuple):
    """How many bands, of how many slots each; no bands: exact copies only."""

    bands: int
    rows: int


class Signatures(NamedTuple):
    """Of D texts, of which each has its row.

    exact: (D, 2) uint64.
    tokens: (D,) uint32, the length by which the best copy is chosen.
    bands: (D, B) uint64; without meaning where a text has no tokens.
    sketch_sizes: (D,) uint32; 0 when a text has no tokens.
    sketches: (sum of sizes,) uint32, ascending in each text.
    """

    exact: np.ndarray
    tokens: np.ndarray
    bands: np.ndarray
    sketch_sizes: np.ndarray
    sketches: np.ndarray
    paragraphs: Paragraphs


def bands_for(similarity: float) -> Bands:
    """The most rows (so the fewest candidates) with which at least 0.99 of the pairs are found.

    A pair of Jaccard similarity s agrees in some band with probability 1 - (1 - s^rows)^bands.
    """
    if similarity >= 1:
        return Bands(0, 0)
    good = [r for r in range(1, 33) if recall(similarity, Bands(SLOTS // r, r)) >= _RECALL]
    return Bands(SLOTS // good[-1], good[-1])


def recall(similarity: float, shape: Bands) -> float:
    """The part of the pairs of this similarity that become candidates."""
    return 1 - (1 - similarity**shape.rows) ** shape.bands


def sign(texts: Sequence[str], shape: Bands, paragraph_length: int = 0) -> Signatures:
    """The signatures of a batch of texts.

    Args:
        paragraph_length: the least length of a line to be hashed, in characters (one of a script
            without spaces counts three); 0: no lines.
    """
    parts = []
    for first, block in blocks(texts):
        signed = _sign(block, shape, paragraph_length)
        signed.paragraphs.rows[:] += np.uint32(first)
        parts.append(signed)
    if not parts:
        return _sign([], shape, paragraph_length)
    lines = [np.concatenate(column) for column in zip(*(p.paragraphs for p in parts), strict=True)]
    exact, tokens, bands, sizes, sketches = (
        np.concatenate(column) for column in zip(*(p[:-1] for p in parts), strict=True)
    )
    return Signatures(exact, tokens, bands, sizes, sketches, Paragraphs(*lines))


def similarities(
    first: np.ndarray, first_sizes: np.ndarray, second: np.ndarray, second_sizes: np.ndarray
) -> np.ndarray:
    """(N,) float64: the Jaccard similarity of N pairs of texts, out of their sketches.

    Exact when both sets have fewer than `SKETCH` n-grams. Otherwise the sets are compared up to
    the hash where the first of the two sketches ends (Beyer et al., SIGMOD 2007).

    Args:
        first, second: the sketches of one side each, one after the other.
    """
    number = np.arange(len(first_sizes), dtype=np.uint64)
    sides = [
        np.repeat(number << np.uint64(32), sizes) | values
        for values, sizes in ((first, first_sizes), (second, second_sizes))
    ]
    bound = np.full(len(number), _EMPTY, np.uint64)
    for values, sizes in zip(sides, (first_sizes, second_sizes), strict=True):
        cut = sizes >= SKETCH
        last = np.cumsum(sizes)[cut].astype(np.int64) - 1
        bound[cut] = np.minimum(bound[cut], values[last])
    keys = np.concatenate(sides)
    keys.sort()
    pair = (keys >> np.uint64(32)).astype(np.int64)
    known = keys <= bound[pair]
    shared = np.zeros(len(keys), bool)
    shared[1:] = keys[1:] == keys[:-1]
    both = np.bincount(pair[known & shared], minlength=len(number))
    union = np.bincount(pair[known & ~shared], minlength=len(number))
    return both / np.maximum(union, 1)


def _sign(texts: Sequence[str], shape: Bands, paragraph_length: int) -> Signatures:
    folded = fold(texts) if texts else Folded(np.zeros(0, np.uint32), np.zeros(0, np.int64))
    exact, paragraphs = exact_hashes(folded, paragraph_length)
    if shape.bands and len(texts):
        tokens = tokenize(folded)
        counts = tokens.counts
        grams = ngrams(tokens, TOKENS)
        keys = np.repeat(np.arange(len(texts), dtype=np.uint64) << _BITS, grams.counts)
        keys |= grams.hashes >> _BITS
        keys.sort()
        keys = keys[np.diff(keys, prepend=_EMPTY) != 0]
        sizes = np.bincount((keys >> _BITS).astype(np.int64), minlength=len(texts))
        bands = _bands(_minhash(keys, sizes), shape)
        rank = np.arange(len(keys)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        sketches = keys[rank < SKETCH].astype(np.uint32)
        sketch_sizes = np.minimum(sizes, SKETCH).astype(np.uint32)
    else:
        counts = count_tokens(folded)
        bands = np.zeros((len(texts), shape.bands), np.uint64)
        sketches, sketch_sizes = np.zeros(0, np.uint32), np.zeros(len(texts), np.uint32)
    return Signatures(exact, counts.astype(np.uint32), bands, sketch_sizes, sketches, paragraphs)


def _minhash(keys: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(D, SLOTS) uint64: slots of two sets are equal with the probability of their similarity.

    Args:
        keys: (H,) uint64, ascending: number of the text << 32 | a hash of its set.
        sizes: (D,) of each set.
    """
    slots = np.full((len(sizes), SLOTS), _EMPTY, np.uint64)
    # The first round needs no work: a set is sorted, and its highest 7 bits name the slot.
    first = np.flatnonzero(np.diff(keys >> _SLOT, prepend=_EMPTY))
    where = (keys[first] >> _SLOT).astype(np.int64)
    slots.reshape(-1)[where] = keys[first] & _HASH
    for number in range(1, _ROUNDS):
        wanting = (slots == _EMPTY).any(axis=1) & (sizes > 0)
        if not wanting.any():
            return slots
        again = keys[np.repeat(wanting, sizes)]
        hashes = mix((again & _HASH) + np.uint64(number << 32))
        where = (again >> _BITS << np.uint64(7) | hashes >> np.uint64(57)).astype(np.int64)
        # Higher than any of the rounds before, so that it only fills what is empty.
        hashes = (hashes & _HASH) | np.uint64(number << 32)
        np.minimum.at(slots.reshape(-1), where, hashes)
    _fill(slots, keys, sizes)
    return slots


def _fill(slots: np.ndarray, keys: np.ndarray, sizes: np.ndarray) -> None:
    """Each slot that is still empty gets the least of a hash function of its own."""
    texts, numbers = np.nonzero((slots == _EMPTY) & (sizes > 0)[:, None])
    work = np.cumsum(sizes[texts])
    offsets = np.cumsum(sizes) - sizes
    begin = 0
    while begin < len(texts):
        done = work[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(work, done + _AT_ONCE)))
        text, number = texts[begin:end], numbers[begin:end]
        size = sizes[text]
        firsts = np.cumsum(size) - size
        index = np.arange(int(size.sum())) + np.repeat(offsets[text] - firsts, size)
        own = number.astype(np.uint64) + np.uint64(_ROUNDS) << _BITS
        hashes = mix((keys[index] & _HASH) + np.repeat(own, size))
        slots[text, number] = np.minimum.reduceat(hashes, firsts) >> np.uint64(1)
        begin = end


def _bands(slots: np.ndarray, shape: Bands) -> np.ndarray:
    """(D, bands) uint64: a hash of the slots of each band."""
    used = slots[:, : shape.bands * shape.rows].reshape(len(slots), shape.bands, shape.rows)
    factors = mix(np.arange(1, shape.rows + 1, dtype=np.uint64)) | np.uint64(1)
    return mix((used * factors).sum(axis=2, dtype=np.uint64))
