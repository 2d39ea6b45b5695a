"""Which pairs are dropped, and that memory of them is exact and small."""

import numpy as np
import pytest

from xunlian.corpus.pairs.clean import PairFilter, Seen, length_ratio
from xunlian.corpus.reading.languages import is_wrong_language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("A dog.", "zh"),
        ("A dog.", "lzh"),
        ("狗", "en"),
        ("这是一只狗 (dog)", "de"),
        ("A dog.", "ru"),
        ("Собака", "zh"),
        ("Собака", "ja"),
        ("dog", "ko"),
        ("狗", "fr-CA"),
    ],
)
def test_a_text_in_another_script_is_in_another_language(text: str, code: str) -> None:
    assert is_wrong_language(text, code)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("狗", "zh"),
        ("用 Python 的 `asyncio` module", "zh-CN"),
        ("Ein Bär, 12 °C — “schön”", "de"),
        ("The word 狗 means dog", "en"),
        ("12:30 !?", "zh"),
        ("", "zh"),
        ("いぬ", "ja"),
        ("犬", "ja"),
        ("Собака и dog", "ru"),
        ("anything 什么", "xx"),
        ("Tiếng Việt có dấu", "vi"),
    ],
)
def test_names_numbers_and_unknown_languages_pass(text: str, code: str) -> None:
    assert not is_wrong_language(text, code)


def test_the_length_of_chinese_is_measured_by_what_it_says() -> None:
    assert length_ratio(("Run.", "你用跑的。")) < 2
    english = "The taller the tree is, the more it is struck by lightning."
    assert length_ratio((english, "树越高越容易被雷击中。")) < 2
    assert length_ratio((english, "树。")) > 3
    assert length_ratio(("x" * 90, "y" * 90)) == 1
    assert length_ratio(("x" * 90, "y" * 10)) == 5


def test_one_pair_has_one_reason_and_the_first_of_equals_stays() -> None:
    rules = PairFilter(3.0, ("en", "zh"))
    pairs = [("", ""), ("a", ""), ("狗", "狗"), ("dog", "狗"), ("dog", "狗"), ("dog", "犬")]
    expected = ["empty_source", "empty_target", "identical", None, "duplicates", None]
    assert rules.reasons(pairs) == expected
    assert rules.reasons([("dog", "犬"), ("cat", "cat.")]) == ["duplicates", "wrong_language"]
    # What was dropped before does not make a later pair a duplicate.
    assert PairFilter(0, (None, None)).reasons([("cat", "cat.")]) == [None]


def test_sides_are_kept_apart_when_pairs_are_compared() -> None:
    assert PairFilter(0, (None, None)).reasons([("ab", "c"), ("a", "bc")]) == [None, None]


def test_seen_agrees_with_a_set_and_takes_eight_bytes_each() -> None:
    random = np.random.default_rng(1)
    seen, known = Seen(), set[int]()
    for _ in range(60):
        batch = random.integers(0, 40_000, 1500).astype(np.uint64) << np.uint64(40)
        expected = []
        for value in batch.tolist():
            expected.append(value in known)
            known.add(value)
        assert seen.add(batch).tolist() == expected
    assert sum(run.nbytes for run in seen._runs) == 8 * len(known)
    assert len(seen._runs) < 12
    assert seen.add(np.array([], dtype=np.uint64)).tolist() == []
