"""Contiguous rows: each lane reads on where it was, and an epoch reads nearly everything once."""

import itertools

import numpy as np
import pytest
from test_packed import Numbers

from xunlian.data.contiguous import ContiguousRows
from xunlian.errors import InputError

LANES, CONTEXT, TOKENS = 4, 8, 1003


def steps_of(rows, first, count):
    return [rows.read(step * rows.lanes, rows.lanes) for step in range(first, first + count)]


def test_targets_are_the_inputs_one_later():
    inputs, _, _, targets = ContiguousRows(Numbers(TOKENS), CONTEXT, LANES, 1).read(0, 60)
    assert inputs.shape == targets.shape == (60, CONTEXT)
    assert ((inputs + 1) % TOKENS == targets).all()


def test_every_lane_goes_on_where_it_was_until_the_epoch_ends():
    rows = ContiguousRows(Numbers(TOKENS), CONTEXT, LANES, 1)
    per_epoch = rows.rows_per_epoch // LANES
    steps = steps_of(rows, 0, 3 * per_epoch)
    for number, (before, after) in enumerate(itertools.pairwise(steps), 1):
        assert (after[1] == np.arange(LANES)).all()
        goes_on = after[0][:, 0] == before[3][:, -1]
        fresh = number % per_epoch == 0
        assert (after[2] == fresh).all()
        assert (goes_on != fresh).all()
    assert steps[0][2].all()


def test_an_epoch_sees_almost_every_token_once_and_each_begins_elsewhere():
    rows = ContiguousRows(Numbers(TOKENS), CONTEXT, LANES, 1)
    firsts = set()
    for epoch in range(3):
        inputs = rows.read(epoch * rows.rows_per_epoch, rows.rows_per_epoch)[0]
        assert len(set(inputs.ravel().tolist())) == inputs.size > TOKENS - LANES * CONTEXT
        firsts.add(int(inputs[0, 0]))
    assert len(firsts) == 3


def test_a_row_is_a_pure_function_of_seed_and_index():
    one = ContiguousRows(Numbers(5000), 32, 8, seed=7).read(100, 300)
    rows = ContiguousRows(Numbers(5000), 32, 8, seed=7)
    for index in (399, 100, 250):
        for array, wanted in zip(rows.read(index, 1), one, strict=True):
            assert (array[0] == wanted[index - 100]).all()


def test_a_text_shorter_than_its_lanes_is_read_and_one_shorter_than_a_row_refused():
    rows = ContiguousRows(Numbers(40), 16, 8, seed=1)
    inputs, _, begins, targets = rows.read(0, 24)
    assert ((inputs + 1) % 40 == targets).all() and begins.all()
    with pytest.raises(InputError, match=r"set model\.context to"):
        ContiguousRows(Numbers(16), 16, 8, seed=1)
