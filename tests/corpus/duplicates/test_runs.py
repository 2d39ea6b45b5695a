from collections.abc import Iterator

import numpy as np
import pytest

from xunlian.corpus.duplicates.runs import Range, find_ranges, gather


def runs_of(keys: np.ndarray, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The records dealt to so many runs, each sorted: keys, and the record's number."""
    numbers = np.arange(len(keys))
    runs = []
    for some in np.array_split(numbers, parts):
        order = np.argsort(keys[some], kind="stable")
        runs.append((keys[some][order], some[order]))
    return runs


def records(
    runs: list[tuple[np.ndarray, np.ndarray]], range_: Range, anchor: bool = False
) -> list[tuple[int, int]]:
    def each() -> Iterator:
        for keys, numbers in runs:
            yield keys, lambda s, n=numbers: [n[s]]

    found = gather(each(), range_, anchor)
    return [] if found is None else list(zip(*(c.tolist() for c in found), strict=True))


RNG = np.random.default_rng(1)
KINDS = {
    "uniform": RNG.integers(0, 1 << 64, 5000, np.uint64, endpoint=False),
    "small": RNG.integers(0, 3000, 5000).astype(np.uint64),
    "skewed": np.concatenate([np.full(4000, 77), RNG.integers(0, 1 << 40, 1000)]).astype(np.uint64),
    "ends": np.array([0, 0, 0, (1 << 64) - 1, (1 << 64) - 1, 5], np.uint64),
    "one": np.full(5000, (1 << 64) - 1, np.uint64),
}


@pytest.mark.parametrize("limit", [1, 3, 100, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_ranges_hold_every_record_once_in_order_and_never_too_many(kind: str, limit: int) -> None:
    if limit < 100 and kind != "ends":
        limit *= 100
    keys = KINDS[kind]
    runs = runs_of(keys, 7)
    ranges = find_ranges(lambda: (k for k, _ in runs), limit)
    found = [records(runs, one) for one in ranges]
    assert all(0 < len(one) <= limit for one in found)
    order = np.argsort(keys, kind="stable")
    expected = list(zip(keys[order].tolist(), order.tolist(), strict=True))
    assert [record for one in found for record in one] == expected


def test_ranges_do_not_depend_on_the_runs() -> None:
    for keys in KINDS.values():
        one, many = ([k for k, _ in runs_of(keys, parts)] for parts in (1, 9))
        assert find_ranges(lambda k=one: iter(k), 100) == find_ranges(lambda k=many: iter(k), 100)


def test_a_part_of_one_key_can_have_the_first_record_with_it() -> None:
    runs = runs_of(KINDS["one"], 3)
    ranges = find_ranges(lambda: (k for k, _ in runs), 1000)
    assert len(ranges) == 5
    numbers = [[n for _, n in records(runs, one, anchor=True)] for one in ranges]
    assert numbers[0] == list(range(1000))
    assert numbers[3] == [0, *range(3000, 4000)]


def test_no_records_make_no_ranges() -> None:
    assert find_ranges(lambda: iter([np.zeros(0, np.uint64)]), 10) == []
