"""Sorted pairs: each whole, each once, with others as long, in an order that a number gives."""

import numpy as np
import pytest
from made_columns import START, Column, made

from xunlian.data.pairs import NO_TARGET, SOURCE_PADDING
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.errors import InputError

SHARES, CONTEXT = 4, 30


def rows_of(sources, targets, context=CONTEXT, seed=7):
    return SortedPairs(Column(sources), Column(targets), context, SHARES, START, seed)


def batches_of(rows, epoch=0):
    first = epoch * rows.rows_per_epoch
    return [rows.read(row, SHARES) for row in range(first, first + rows.rows_per_epoch, SHARES)]


def pairs_in(batch):
    """(source tokens, target tokens) of each pair, read back from its arrays."""
    found = []
    flat = (array.reshape(-1, array.shape[-1]) for array in batch)
    for source, marks, inputs, targets in zip(*flat, strict=True):
        here = targets != NO_TARGET
        if here.any():
            assert inputs[0] == START and (inputs[here][1:] == targets[here][:-1]).all()
            found.append((tuple(source[marks != SOURCE_PADDING]), tuple(targets[here])))
    return found


def test_every_pair_comes_once_an_epoch_whole():
    sources, targets = made(500, 25)
    rows = rows_of(sources, targets)
    wanted = sorted((tuple(s), tuple(t)) for s, t in zip(sources, targets, strict=True))
    for epoch in (0, 1):
        found = [pair for batch in batches_of(rows, epoch) for pair in pairs_in(batch)]
        assert sorted(found) == wanted
    assert rows.row_tokens * rows.rows_per_epoch == sum(map(len, [*sources, *targets]))


def test_batches_hold_about_as_many_target_tokens_and_little_padding():
    rows = rows_of(*made(3000, 25), context=300)
    batches = batches_of(rows)
    sizes = [int((batch[-1] != NO_TARGET).sum()) for batch in batches]
    assert max(abs(size - SHARES * 300) for size in sizes) < 60
    slots = sum(batch[-1].size for batch in batches)
    assert sum(sizes) > 0.9 * slots


def test_epochs_take_the_batches_in_other_orders():
    rows = rows_of(*made(500, 25))
    first, second = ([pairs_in(batch) for batch in batches_of(rows, epoch)] for epoch in (0, 1))
    assert first != second
    assert [pairs_in(batch) for batch in batches_of(rows_of(*made(500, 25)))] == first


def test_the_shares_of_two_processes_are_the_batch_of_one():
    rows = rows_of(*made(500, 25))
    for batch in range(6):
        whole = pairs_in(rows.read(batch * SHARES, SHARES))
        halves = [rows.read(batch * SHARES + half * SHARES // 2, SHARES // 2) for half in (0, 1)]
        assert [pair for half in halves for pair in pairs_in(half)] == whole


def test_an_empty_pair_has_something_to_look_at_and_nothing_to_learn():
    rows = rows_of(*made(7, 25))
    source, marks, _, targets = rows.read(0, SHARES)
    empty = (targets == NO_TARGET).all(-1)
    assert empty.sum() == 1
    assert (marks[empty] >= 0).sum() == 1 and source.shape == marks.shape


def test_pairs_too_long_are_left_out_and_counted():
    sources, targets = made(50, 25)
    sources[3] = np.full(CONTEXT + 1, 5)
    targets[4] = np.full(CONTEXT + 1, 5)
    rows = rows_of(sources, targets)
    assert (rows.left_out, rows.pairs) == (2, 48)
    with pytest.raises(InputError, match=r"larger model\.context"):
        rows_of([np.full(40, 5)], [np.full(3, 5)])


def test_the_largest_batch_is_known_before_any_is_read():
    rows = rows_of(*made(500, 25))
    places = [batch[0].size + batch[2].size for batch in batches_of(rows)]
    pairs, target, source = rows.largest(SHARES)
    assert pairs * (target + source) == max(places)
