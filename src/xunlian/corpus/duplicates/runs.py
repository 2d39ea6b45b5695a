"""All-to-all steps in bounded memory: many sorted files, cut into ranges of keys.

A *run* is a file with an array of uint64 keys, ascending, and columns beside it. Whoever needs all
records of some keys takes their slice out of every run: no record is written twice, and a range
is chosen (by counting in the runs, with binary searches) to hold at most so many records. So no
engine's shuffle is trusted, every range can be a task of its own, and what a range holds does not
depend on how many runs the records came in.
"""

import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xunlian.corpus.duplicates.arrays import Arrays, map_arrays

_OPEN = 128  # files at once: a map holds a file descriptor
_SPLIT = 256  # a range that is too full becomes so many
_TOP = 1 << 64


class Range(NamedTuple):
    """Records with low <= key < high.

    One key alone may have more records than a range may hold. It is cut by number then: those
    from `first` on, at most `most`; all, when that is 0.
    """

    low: int
    high: int
    first: int = 0
    most: int = 0


class Maps:
    """Files mapped into memory, the last ones used staying open."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, tuple[mmap.mmap, Arrays]] = OrderedDict()

    def __call__(self, path: Path) -> Arrays:
        if path not in self._open:
            self._open[path] = map_arrays(path)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path][1]

    def let_go(self, path: Path) -> None:
        """What was read of a file leaves this process's memory; its arrays stay valid. Else a job
        that looks here and there would end up with all files in memory."""
        if path in self._open and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._open[path][0].madvise(mmap.MADV_DONTNEED)


Keys = Callable[[], Iterator[np.ndarray]]
"""Gives the keys of each run, one run after the other."""
Columns = Callable[[slice], list[np.ndarray]]
"""Gives what stands beside some of a run's keys."""
Run = tuple[np.ndarray, Columns]


def find_ranges(keys: Keys, limit: int) -> list[Range]:
    """Ranges that together hold every record, in order, each at most about `limit` of them."""
    total = sum(map(len, keys()))
    if total <= limit:
        return [Range(0, _TOP)] if total else []
    starts = [_TOP * i // _SPLIT for i in range(_SPLIT)]
    while True:
        counts = _count(keys, starts)
        ends = [*starts[1:], _TOP]
        full = [
            (low, high)
            for low, high, count in zip(starts, ends, counts, strict=True)
            if count > limit and high - low > 1
        ]
        if not full:
            break
        more = {
            low + max(1, (high - low) // _SPLIT) * i
            for low, high in full
            for i in range(min(_SPLIT, high - low))
        }
        starts = sorted(more.union(starts))
    return list(_merge(starts, ends, counts, limit))


def _count(keys: Keys, starts: Sequence[int]) -> list[int]:
    edges = np.array(starts, np.uint64)
    counts = np.zeros(len(edges), np.int64)
    for run in keys():
        counts += np.diff(np.searchsorted(run, edges), append=len(run))
    return counts.tolist()


def _merge(
    starts: Sequence[int], ends: Sequence[int], counts: Sequence[int], limit: int
) -> Iterator[Range]:
    low, held = starts[0], 0
    for start, end, count in zip(starts, ends, counts, strict=True):
        if held and held + count > limit:
            yield Range(low, start)
            low, held = start, 0
        held += count
        if held > limit:  # one key
            for first in range(0, held, limit):
                yield Range(low, end, first, limit)
            low, held = end, 0
    if held:
        yield Range(low, ends[-1])


def gather(
    runs: Iterable[Run],
    range_: Range,
    anchor: bool = False,
) -> list[np.ndarray] | None:
    """The columns of a range's records, sorted by key, otherwise in the order of the runs.

    Args:
        runs: of each run its keys, and what gives the columns.
        anchor: a part of a single key's records also gets the very first of them.
    Returns:
        the keys and the columns; None when there are no records.
    """
    found: list[list[np.ndarray]] = []
    seen = 0
    stop = range_.first + range_.most if range_.most else _TOP
    for keys, columns in runs:
        begin = int(np.searchsorted(keys, np.uint64(range_.low)))
        end = len(keys)
        if range_.high < _TOP:
            end = int(np.searchsorted(keys, np.uint64(range_.high)))
        spans = [(max(begin, begin + range_.first - seen), min(end, begin + stop - seen))]
        if anchor and range_.first and not seen and end > begin:
            spans.insert(0, (begin, begin + 1))
        seen += end - begin
        for a, b in spans:
            if b > a:
                found.append([keys[a:b], *columns(slice(a, b))])
    if not found:
        return None
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    # Timsort finds the runs that are there, and leaves equal keys in their order.
    order = np.argsort(joined[0], kind="stable")
    return [column[order] for column in joined]
