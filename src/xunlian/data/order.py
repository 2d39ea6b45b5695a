"""The order of training rows: a pure function of (seed, row index), at no cost in memory.

Notable idea: a shuffle of n rows is a keyed permutation of 0..n-1, computed for any index at once
by a small Feistel network with cycle walking (Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002). So a resume is O(1), any process can compute any row, and a trillion tokens need
no list of indices.
"""

import numpy as np

ROUNDS = 6


def permute(indices: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Where each of `indices` (in 0..count-1) goes in the shuffle of this seed and epoch."""
    if count == 1:
        return np.zeros_like(indices)
    half_bits = max(1, (int(count - 1).bit_length() + 1) // 2)
    keys = _keys(seed, epoch)
    result = indices.astype(np.uint64)
    outside = np.ones(result.shape, dtype=bool)
    while outside.any():
        result[outside] = _feistel(result[outside], half_bits, keys)
        outside = result >= count
    return result.astype(np.int64)


def epoch_offset(length: int, seed: int, epoch: int) -> int:
    """A start in 0..length-1 that differs from epoch to epoch."""
    return int(np.random.default_rng((seed, epoch, 1)).integers(length))


def _keys(seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, 0)).integers(2**63, size=ROUNDS, dtype=np.uint64)


def _feistel(values: np.ndarray, half_bits: int, keys: np.ndarray) -> np.ndarray:
    """One pass of a balanced Feistel network over 2 x half_bits bits."""
    bits, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def rows_of_epochs(first: int, count: int, rows_per_epoch: int, seed: int | None) -> np.ndarray:
    """(count,) the rows that stand at `first` and after it, where every epoch has all rows in an
    order of its own; without a seed in their order."""
    index = np.arange(first, first + count)
    if seed is None:
        return index % rows_per_epoch
    epochs = index // rows_per_epoch
    rows = np.empty_like(index)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        rows[here] = permute(index[here] % rows_per_epoch, rows_per_epoch, seed, int(epoch))
    return rows
