"""Packed rows: order, coverage, purity."""

import numpy as np
import pytest

from xunlian.data.order import permute
from xunlian.data.packed import PackedRows
from xunlian.errors import InputError


class Numbers:
    """A stream whose token at position i is i."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start <= stop <= self.length
        return np.arange(start, stop)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000, 4097])
def test_a_shuffle_is_a_permutation_that_differs_by_epoch_and_seed(count):
    orders = [
        permute(np.arange(count), count, seed, epoch).tolist()
        for seed in (1, 2)
        for epoch in (0, 1)
    ]
    for order in orders:
        assert sorted(order) == list(range(count))
    if count > 100:
        assert len({tuple(order) for order in orders}) == 4


def test_a_shuffle_mixes_well():
    order = permute(np.arange(10_000), 10_000, seed=5, epoch=0)
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.05


def test_targets_are_the_inputs_one_later():
    inputs, targets = PackedRows(Numbers(1000), 16, seed=1).read(0, 40)
    assert inputs.shape == targets.shape == (40, 16)
    assert ((inputs + 1) % 1000 == targets).all()


def test_an_epoch_sees_almost_every_token_once():
    rows = PackedRows(Numbers(1003), 16, seed=1)
    for epoch in range(3):
        inputs, _ = rows.read(epoch * rows.rows_per_epoch, rows.rows_per_epoch)
        assert len(set(inputs.ravel().tolist())) == inputs.size == 1003 // 16 * 16


def test_a_row_is_a_pure_function_of_seed_and_index():
    one = PackedRows(Numbers(5000), 32, seed=7).read(100, 300)[0]
    rows = PackedRows(Numbers(5000), 32, seed=7)
    for index in (399, 100, 250):
        assert (rows.read(index, 1)[0][0] == one[index - 100]).all()
    assert (PackedRows(Numbers(5000), 32, seed=8).read(100, 300)[0] != one).any()


def test_epochs_cut_at_other_offsets():
    rows = PackedRows(Numbers(5000), 32, seed=1)
    starts = [
        set((rows.read(e * rows.rows_per_epoch, rows.rows_per_epoch)[0][:, 0] % 32).tolist())
        for e in range(4)
    ]
    assert len({frozenset(s) for s in starts}) > 1


def test_a_text_shorter_than_a_context_is_refused():
    with pytest.raises(InputError, match=r"40 tokens.*context of 64.*model\.context"):
        PackedRows(Numbers(40), 64, seed=1)
