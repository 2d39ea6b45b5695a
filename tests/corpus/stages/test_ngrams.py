import random

import numpy as np
import pytest
from made_duplicates import shingles, tokens

from xunlian.corpus.stages import ngrams as module
from xunlian.corpus.stages.ngrams import blocks, fold, ngrams, tokenize

TEXTS = [
    "The quick brown fox jumps over the lazy dog; the quick brown fox jumps again.",
    "",
    "don't stop_here 3.14 ... ",
    "敏捷的棕色狐狸跳过了懒狗。The fox 跳过 again",
    "word",
    "ひらがなとカタカナ、漢字",
    "!!! ... ???",
    "한국어 문장은 띄어쓰기를 한다",
]


def in_order(text: str, n: int) -> list[tuple[str, ...]]:
    words = tokens(text)
    return [tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, min(1, len(words))))]


@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_equal_ngrams_have_equal_hashes_and_others_do_not(n: int) -> None:
    found = ngrams(tokenize(fold(TEXTS)), n)
    expected = [in_order(text, n) for text in TEXTS]
    assert found.counts.tolist() == [len(one) for one in expected]
    names: dict[int, tuple[str, ...]] = {}
    for value, gram in zip(
        found.hashes.tolist(), [g for one in expected for g in one], strict=True
    ):
        assert names.setdefault(value, gram) == gram
    assert len(names) == len({gram for one in expected for gram in one})


def test_only_whole_ngrams_when_asked() -> None:
    found = ngrams(tokenize(fold(TEXTS)), 5, whole=False)
    assert found.counts.tolist() == [max(0, len(tokens(text)) - 4) for text in TEXTS]


def test_case_width_and_punctuation_do_not_matter() -> None:
    texts = ["Hello, World of 2024!", "ＨＥＬＬＯ　world -- of ２０２４", "hello\nworld of 2024"]
    found = tokenize(fold(texts))
    assert found.counts.tolist() == [4, 4, 4]
    assert len(np.unique(found.hashes.reshape(3, 4), axis=0)) == 1


def test_a_text_has_the_same_hashes_wherever_it_stands() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("ab c文字 .\n", k=rng.randrange(40))) for _ in range(300)]
    together = ngrams(tokenize(fold(texts)), 3)
    alone = [ngrams(tokenize(fold([text])), 3).hashes for text in texts]
    assert np.array_equal(together.hashes, np.concatenate(alone))


def test_similar_words_do_not_collide() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in range(300)]
    assert len(np.unique(tokenize(fold([" ".join(words)])).hashes)) == len(words)


def test_blocks_hold_all_texts_and_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 50)
    texts = ["x" * n for n in (0, 10, 60, 0, 20, 20, 20, 49, 1)]
    found = list(blocks(texts))
    assert [text for _, block in found for text in block] == texts
    assert [first for first, _ in found] == [0, 2, 3, 6, 7, 8]
    assert list(blocks([])) == []


def test_shingles_of_the_reference_are_ours() -> None:
    for text in TEXTS:
        assert len(np.unique(ngrams(tokenize(fold([text])), 5).hashes)) == len(shingles(text))


def test_broken_text_is_taken() -> None:
    found = tokenize(fold(["half a pair \ud800 here", "\0\0", "\U0010ffff \U000e0100"]))
    assert found.counts.tolist() == [4, 0, 0]
