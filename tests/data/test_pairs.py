"""Pairs in rows: each whole, each once, in an order that a number gives."""

import numpy as np
import pytest
from made_columns import END, START, Column, made

from xunlian.data.pairs import NO_TARGET, SOURCE_PADDING, PairRows, plan_rows
from xunlian.errors import InputError


def rows_of(sources, targets, context, seed=7):
    return PairRows(Column(sources), Column(targets), context, START, seed)


def pairs_in(batch, row):
    """(source tokens, target tokens) of each pair of a row, read back from its arrays."""
    source, source_pairs, inputs, target_pairs, targets = (array[row] for array in batch)
    found = []
    for number in range(source_pairs.max() + 1):
        here = (target_pairs == number) & (targets != NO_TARGET)
        assert inputs[here][0] == START
        assert (inputs[here][1:] == targets[here][:-1]).all()
        found.append((source[source_pairs == number].tolist(), targets[here].tolist()))
    return found


def test_every_epoch_holds_every_pair_once_and_whole():
    sources, targets = made(200, 20)
    rows = rows_of(sources, targets, 48)
    expected = sorted((s.tolist(), t.tolist()) for s, t in zip(sources, targets, strict=True))
    count = rows.rows_per_epoch
    for epoch in range(2):
        batch = rows.read(epoch * count, count)
        found = [pair for row in range(count) for pair in pairs_in(batch, row)]
        assert sorted(found) == expected


def test_epochs_differ_in_order_and_a_row_is_a_function_of_its_number():
    sources, targets = made(200, 20)
    rows = rows_of(sources, targets, 48)
    count = rows.rows_per_epoch
    first, second = rows.read(0, count), rows.read(count, count)
    assert not np.array_equal(first[0], second[0])
    again = rows_of(sources, targets, 48).read(count + 3, 2)
    for array, part in zip(second, again, strict=True):
        assert np.array_equal(array[3:5], part)
    across = rows.read(count - 1, 2)
    assert np.array_equal(across[0][0], first[0][-1])
    assert np.array_equal(across[0][1], second[0][0])


def test_without_a_seed_all_epochs_are_alike():
    sources, targets = made(50, 20)
    rows = rows_of(sources, targets, 48, seed=None)
    one, two = rows.read(0, 3), rows.read(rows.rows_per_epoch, 3)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_padding_is_marked():
    rows = rows_of([np.array([5, 6, END])], [np.array([7, END])], 8)
    source, source_pairs, inputs, target_pairs, targets = (a[0].tolist() for a in rows.read(0, 1))
    assert source == [5, 6, END] + [START] * 5
    assert source_pairs == [0] * 3 + [SOURCE_PADDING] * 5
    assert inputs == [START, 7] + [START] * 6
    assert target_pairs == [0] * 8
    assert targets == [7, END] + [NO_TARGET] * 6


def test_pairs_longer_than_the_context_are_left_out_and_counted():
    sources, targets = made(100, 20)
    sources[3] = np.full(49, 9)
    targets[8] = np.full(60, 9)
    rows = rows_of(sources, targets, 48)
    assert rows.plan.left_out == 2 and rows.pairs == 98
    with pytest.raises(InputError, match=r"All 100 pairs are longer than model.context = 1"):
        rows_of(sources, targets, 1)


@pytest.mark.parametrize("context", [16, 64, 257, 1000])
def test_plans_are_tight_and_whole(context):
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(np.log(context / 6), 0.6, (3000, 2)), 1, context).astype(int)
    plan = plan_rows(lengths, context)
    assert np.array_equal(np.sort(plan.order), np.arange(3000))
    filled = np.add.reduceat(lengths[plan.order], plan.begins[:-1], axis=0)
    assert filled.max() <= context
    # No packing needs fewer rows than the fuller side does.
    assert plan.rows <= 1.25 * lengths.sum(axis=0).max() / context + 1


def test_the_side_that_is_shorter_has_shorter_rows():
    rng = np.random.default_rng(1)
    sources, targets = rng.integers(100, 256, 500), rng.integers(10, 30, 500)
    targets[7] = 61
    plan = plan_rows(np.stack([sources, targets], axis=1), 256)
    assert plan.widths == (256, 64)  # the longest fits
    filled = np.add.reduceat(
        np.stack([sources, targets], axis=1)[plan.order], plan.begins[:-1], axis=0
    )
    assert filled[:, 0].max() <= 256 and filled[:, 1].max() <= 64
    assert np.array_equal(np.sort(plan.order), np.arange(500))
    turned = plan_rows(np.stack([targets, sources], axis=1), 256)
    assert turned.widths == (64, 256) and turned.rows == plan.rows
    rows = rows_of([np.full(n, 9) for n in sources], [np.full(n, 9) for n in targets], 256)
    assert [array.shape for array in rows.read(0, 3)] == [(3, 256)] * 2 + [(3, 64)] * 3
