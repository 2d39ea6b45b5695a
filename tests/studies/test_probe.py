"""The copy probe asks what it says it asks, alike for all, and can be passed."""

from dataclasses import replace

import numpy as np
import pytest

from xunlian.models.losses import IGNORED
from xunlian.recipe.budget import Budget
from xunlian.studies import probe
from xunlian.studies.equal import FAMILIES
from xunlian.studies.probe import (
    ALPHABET,
    FILLERS,
    MARKER,
    SYMBOLS,
    Probe,
    copy_rows,
    probe_families,
    row_length,
)


@pytest.mark.parametrize("distance", [1, 4, 32])
def test_the_symbols_come_again_after_the_distance(distance):
    inputs, targets = copy_rows(np.random.default_rng(1), 50, distance)
    assert inputs.shape == targets.shape == (50, row_length(distance))
    for row, wanted in zip(inputs, targets, strict=True):
        first, second = np.flatnonzero(row == MARKER)
        assert first == 0 and second - first - 1 - SYMBOLS == distance
        symbols = row[1 : 1 + SYMBOLS]
        assert len(set(symbols)) == SYMBOLS and symbols.max() < ALPHABET
        between = row[1 + SYMBOLS : second]
        assert ((between >= ALPHABET) & (between < ALPHABET + FILLERS)).all()
        assert (row[second + 1 :] == symbols[:-1]).all()
        assert (wanted[:second] == IGNORED).all() and (wanted[second:] == symbols).all()


def test_rows_differ_and_follow_from_the_generator():
    one, other = (copy_rows(np.random.default_rng(1), 20, 8)[0] for _ in range(2))
    assert (one == other).all()
    assert len({tuple(row[: 1 + SYMBOLS]) for row in one}) == 20


def test_a_probe_with_a_budget_in_steps_follows_from_its_seed(monkeypatch):
    monkeypatch.setattr(probe, "BATCH_TOKENS", 256)
    monkeypatch.setattr(probe, "TESTED", 8)

    def run(seed):
        found = probe_families(
            FAMILIES, Budget(3, "steps"), seed=seed, size="60k", distances=(2, 5)
        )
        return [replace(one, seconds=0) for one in found]

    first = run(1)
    assert first == run(1) != run(2)
    assert [one.family for one in first] == list(FAMILIES)
    assert all(one.steps == 3 and set(one.accuracy) == {2, 5} for one in first)
    sizes = [one.parameters for one in first]
    assert max(sizes) < 1.06 * min(sizes)


def test_reach_is_the_largest_distance_that_nine_of_ten_survive():
    def reach(*shares):
        return Probe("rnn", 1, 1, 1.0, dict(zip((4, 8, 16), shares, strict=True))).reach

    assert reach(1.0, 0.9, 0.89) == 8
    assert reach(0.5, 0.2, 0.1) == 0
    assert reach(1.0, 1.0, 1.0) == 16


@pytest.mark.slow
def test_a_transformer_learns_to_copy():
    (found,) = probe_families(["transformer"], Budget(250, "steps"), distances=(4, 8, 16, 32))
    assert found.reach == 32
