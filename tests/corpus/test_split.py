from fractions import Fraction
from itertools import pairwise

import pytest

from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.errors import InputError


@pytest.mark.parametrize("fraction", ["0.05", "0.1", "0.3", "0.007", "0.5", "0.75"])
def test_the_share_held_out_is_exact_and_spread_over_the_corpus(fraction: str) -> None:
    holdout = Holdout(Fraction(fraction))
    chosen = [holdout.is_held_out(i) for i in range(10_000)]
    assert abs(sum(chosen) - 10_000 * float(fraction)) <= 1
    for first in range(0, 10_000, 2000):
        part = sum(chosen[first : first + 2000])
        assert abs(part - 2000 * float(fraction)) <= 2


def test_the_documents_held_out_are_not_every_nth() -> None:
    holdout = Holdout(Fraction(1, 20))
    chosen = [i for i in range(10_000) if holdout.is_held_out(i)]
    assert len({b - a for a, b in pairwise(chosen)}) > 20


def test_with_enough_documents_at_least_one_is_held_out() -> None:
    for fraction in ("0.05", "0.011", "0.4", "0.99"):
        holdout = Holdout(Fraction(fraction))
        assert any(holdout.is_held_out(i) for i in range(holdout.enough_documents))
        assert not all(holdout.is_held_out(i) for i in range(max(101, holdout.enough_documents)))


def test_a_number_is_a_fraction_and_anything_else_a_file() -> None:
    assert parse_holdout(["0.1"]) == Holdout(Fraction(1, 10))
    assert parse_holdout(["0"]) == parse_holdout(["0.0"]) == Holdout(Fraction(0))
    assert parse_holdout(["val.txt"]) is None and parse_holdout(["a.en", "a.de"]) is None
    for wrong in ("1", "1.5", "-0.1", "nan", "inf"):
        with pytest.raises(InputError, match="from 0 to below 1"):
            parse_holdout([wrong])
    with pytest.raises(InputError, match="name files, or one fraction"):
        parse_holdout(["a.en", "0.1"])


def test_nothing_is_held_out_of_fraction_zero() -> None:
    assert not any(Holdout(Fraction(0)).is_held_out(i) for i in range(100))


def test_a_sample_is_bounded_and_spread_over_the_text() -> None:
    sampler = Sampler(limit=2_000_000)
    for i in range(10_000):
        sampler.add(f"{i:09d} " * 100)  # 10 MB in all
    sample = "".join(texts(sampler.excerpts()))
    assert 1_900_000 < len(sample.encode()) <= 2_000_000
    numbers = [int(word) for word in sample.split()]
    assert numbers == sorted(numbers)
    tenths = [sum(n // 1000 == tenth for n in numbers) for tenth in range(10)]
    assert max(tenths) < 1.5 * min(tenths)


def test_a_text_within_the_limit_is_sampled_whole() -> None:
    sampler = Sampler(limit=10**6)
    text = "词 word " * 9_000
    sampler.add(text, ordinal=3, offset=7)
    excerpts = list(sampler.excerpts())
    assert "".join(texts(excerpts)) == text
    assert all(text[e.offset - 7 :].startswith(e.text) for e in excerpts)
