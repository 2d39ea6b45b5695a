"""The jobs that bring equal keys together: exact copies, candidates, verified pairs, lines."""

from pathlib import Path

import numpy as np

from xunlian.corpus.duplicates.arrays import write_arrays
from xunlian.corpus.duplicates.files import Work
from xunlian.corpus.duplicates.runs import Range, gather
from xunlian.corpus.stages.signatures import similarities

RECORDS = 1 << 22
"""A job holds so many: 64 MB of keys and numbers, about 200 MB at its peak."""

_ALL_PAIRS = 8  # documents in a band: up to so many, each is compared with each
_PAIRS = 2048  # compared at once: 16 MB of sketches
SURE = 1e-9  # 0.8 as a quotient may come out just below 0.8


def match_exact(work: Work, out: Path, range_: Range) -> None:
    """Documents whose 128 bits are those of an earlier one."""
    found = gather(work.runs("exact"), range_, anchor=True)
    keys, numbers = found or (np.zeros(0, np.uint64), np.zeros(0, np.int64))
    group = _grouped(keys)
    keys, numbers = keys[group], numbers[group]
    low = work.look_up("exact", numbers)[:, 1]
    order = np.lexsort((numbers, low, keys))
    keys, low, numbers = keys[order], low[order], numbers[order]
    same = np.zeros(len(keys), bool)
    same[1:] = (keys[1:] == keys[:-1]) & (low[1:] == low[:-1])
    firsts = numbers[~same][np.cumsum(~same) - 1]
    by_number = np.argsort(numbers[same])
    write_arrays(
        out,
        {
            "keys": numbers[same][by_number].astype(np.uint64),
            "copy_of": firsts[same][by_number],
            "similarities": np.ones(len(by_number), np.float32),
        },
    )


def match_bands(work: Work, out: Path, band: int, range_: Range) -> None:
    """Pairs of documents that agree in a band: keys (N,) the lower number, others (N,).

    In a group of a few each is paired with each, in a larger one with its neighbour and with the
    first, in the order of their exact hashes, so that the pairs do not depend on the documents'
    order.
    """
    found = gather(work.runs(f"band_{band}"), range_, anchor=True)
    keys, numbers = found or (np.zeros(0, np.uint64), np.zeros(0, np.int64))
    group = _grouped(keys)
    keys, numbers = keys[group], numbers[group]
    exact = work.look_up("exact", numbers)[:, 0]
    order = np.lexsort((numbers, exact, keys))
    keys, exact, numbers = keys[order], exact[order], numbers[order]
    # Exact copies are settled: only the first of them stands for all.
    other = np.ones(len(keys), bool)
    other[1:] = (keys[1:] != keys[:-1]) | (exact[1:] != exact[:-1])
    keys, numbers = keys[other], numbers[other]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
    sizes = np.diff(starts, append=len(keys))
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(keys))
    firsts, seconds = [], []
    for step in range(1, _ALL_PAIRS):
        pairs = place[place - start >= step]
        if step > 1:
            pairs = pairs[size[pairs] <= _ALL_PAIRS]
        firsts.append(pairs - step)
        seconds.append(pairs)
    far = place[(size > _ALL_PAIRS) & (place - start > 1)]
    a = numbers[np.concatenate([*firsts, start[far]])]
    b = numbers[np.concatenate([*seconds, far])]
    _write_pairs(out, np.minimum(a, b), np.maximum(a, b))


def verify(work: Work, out: Path, range_: Range, similarity: float) -> None:
    """The pairs that are as similar as wanted."""
    found = gather(work.runs_of("match"), range_)
    keys, others = found or (np.zeros(0, np.uint64), np.zeros(0, np.int64))
    order = np.lexsort((others, keys))
    a, b = keys[order].astype(np.int64), others[order]
    new = np.ones(len(a), bool)  # a pair has met in several bands
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    a, b = a[new], b[new]
    good = compare(work, a, b) >= similarity - SURE
    _write_pairs(out, a[good], b[good])


def match_lines(work: Work, out: Path, range_: Range) -> None:
    """Lines that stand earlier in a document that stays: keys (N,) the document, numbers (N,)."""
    found = gather(work.line_runs(), range_, anchor=True)
    keys, numbers, lines = found or (np.zeros(0, np.uint64), *[np.zeros(0, np.int64)] * 2)
    stays = numbers >= 0
    keys, numbers, lines = keys[stays], numbers[stays], lines[stays]
    later = np.zeros(len(keys), bool)
    later[1:] = keys[1:] == keys[:-1]
    numbers, lines = numbers[later], lines[later]
    order = np.lexsort((lines, numbers))
    write_arrays(
        out,
        {"keys": numbers[order].astype(np.uint64), "numbers": lines[order].astype(np.uint32)},
    )


def compare(work: Work, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) float64: how similar N pairs of documents are."""
    result = np.zeros(len(a))
    for begin in range(0, len(a), _PAIRS):
        span = slice(begin, begin + _PAIRS)
        result[span] = similarities(*work.sketches(a[span]), *work.sketches(b[span]))
    return result


def _grouped(keys: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the sorted keys are not alone."""
    same = keys[1:] == keys[:-1]
    group = np.zeros(len(keys), bool)
    group[1:] |= same
    group[:-1] |= same
    return group


def _write_pairs(out: Path, low: np.ndarray, high: np.ndarray) -> None:
    order = np.argsort(low, kind="stable")
    write_arrays(out, {"keys": low[order].astype(np.uint64), "others": high[order]})
