"""pass@k against its definition and the paper's own code in words; Wilson's interval."""

import itertools
import math

import numpy as np
import pytest

from xunlian.evaluation.tasks.estimates import pass_at_k, wilson_interval


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(samples):
    for right in range(samples + 1):
        outcomes = [True] * right + [False] * (samples - right)
        for k in range(1, samples + 1):
            draws = [any(draw) for draw in itertools.combinations(outcomes, k)]
            assert pass_at_k(samples, right, k) == pytest.approx(sum(draws) / len(draws))


def test_pass_at_k_is_the_papers_product():
    for samples, right, k in [
        (200, 3, 100),
        (200, 0, 1),
        (200, 200, 10),
        (100, 60, 50),
        (10, 1, 1),
    ]:
        fails = np.prod(1 - k / np.arange(samples - right + 1, samples + 1))
        theirs = 1.0 if samples - right < k else 1 - fails
        assert pass_at_k(samples, right, k) == pytest.approx(theirs, abs=1e-12)


def test_wilsons_interval_is_that_of_the_literature():
    # Newcombe 1998, table I, method 3 (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8).
    for right, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


def test_at_the_ends_of_the_interval_the_share_is_just_plausible():
    z = 1.959963984540054
    for right, count in [(3, 10), (97, 100), (1, 1319)]:
        for end in wilson_interval(right, count):
            distance = abs(right / count - end) / math.sqrt(end * (1 - end) / count)
            assert distance == pytest.approx(z)
