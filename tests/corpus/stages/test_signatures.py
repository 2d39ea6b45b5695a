import random

import numpy as np
import pytest
from made_duplicates import edited, jaccard

from xunlian.corpus.stages import signatures as module
from xunlian.corpus.stages.ngrams import fold, ngrams, tokenize
from xunlian.corpus.stages.signatures import (
    SKETCH,
    Bands,
    Signatures,
    bands_for,
    recall,
    sign,
    similarities,
)

WORDS = [f"word{i}" for i in range(3000)]


def texts_of(sizes: list[int], seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=size)) for size in sizes]


def sketch_of(signed: Signatures, i: int) -> np.ndarray:
    end = int(signed.sketch_sizes[: i + 1].sum())
    return signed.sketches[end - int(signed.sketch_sizes[i]) : end]


def estimate(a: list[str], b: list[str]) -> np.ndarray:
    shape = bands_for(0.8)
    one, other = sign(a, shape), sign(b, shape)
    return similarities(one.sketches, one.sketch_sizes, other.sketches, other.sketch_sizes)


@pytest.mark.parametrize("similarity", [0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_bands_find_nearly_all_pairs_at_the_similarity(similarity: float) -> None:
    shape = bands_for(similarity)
    assert recall(similarity, shape) >= 0.99
    assert recall(similarity - 0.35, shape) < 0.5
    assert shape.bands * shape.rows <= 128
    assert bands_for(1).bands == 0


def test_sketches_of_short_texts_compare_exactly() -> None:
    rng = random.Random(5)
    first = texts_of([rng.randrange(1, 400) for _ in range(60)], 1)
    second = [edited(text, rng.randrange(12), rng) for text in first]
    expected = [jaccard(a, b) for a, b in zip(first, second, strict=True)]
    assert np.allclose(estimate(first, second), expected)
    assert len(set(expected)) > 30


def test_sketches_of_long_texts_estimate_within_their_error() -> None:
    rng = random.Random(6)
    first = texts_of([rng.randrange(1500, 3000) for _ in range(30)], 2)
    second = [edited(text, rng.randrange(150), rng) for text in first]
    expected = [jaccard(a, b) for a, b in zip(first, second, strict=True)]
    errors = estimate(first, second) - expected
    assert np.sqrt((errors**2).mean()) < 0.025
    assert abs(errors.mean()) < 0.01


def test_a_sketch_is_the_smallest_hashes_of_the_set() -> None:
    texts = texts_of([0, 3, 5, 200, 3000], 3)
    signed = sign(texts, bands_for(0.8))
    for i, text in enumerate(texts):
        hashes = ngrams(tokenize(fold([text])), 5).hashes >> np.uint64(32)
        assert np.array_equal(sketch_of(signed, i), np.unique(hashes)[:SKETCH])


@pytest.mark.parametrize("size", [8, 30, 120, 600, 3000])
def test_slots_agree_as_often_as_the_sets_are_similar(size: int) -> None:
    # One row a band: a band is a slot.
    rng = random.Random(size)
    first = texts_of([size] * (30 if size > 1000 else 60), size)
    second = [edited(text, max(1, size // 60), rng) for text in first]
    shape = Bands(128, 1)
    agree = (sign(first, shape).bands == sign(second, shape).bands).mean(axis=1)
    errors = agree - [jaccard(a, b) for a, b in zip(first, second, strict=True)]
    # 128 independent slots would have a standard deviation of 0.035 to 0.044.
    assert np.sqrt((errors**2).mean()) < 0.05
    assert abs(errors.mean()) < 0.02


def test_a_signature_does_not_depend_on_the_rest_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(9)
    texts = texts_of([rng.randrange(60) for _ in range(40)], 4)
    texts += [f"{text}\n{'中文' * 40}" for text in texts]
    whole = sign(texts, bands_for(0.8), 100)
    monkeypatch.setattr(module, "_AT_ONCE", 100)
    alone = [sign([text], bands_for(0.8), 100) for text in texts]
    for name in ("exact", "tokens", "bands", "sketch_sizes", "sketches"):
        parts = [getattr(one, name) for one in alone]
        assert np.array_equal(getattr(whole, name), np.concatenate(parts)), name
    lines = [line for text in texts for line in text.split("\n")]
    expected = sum(len(line) >= 100 or "中" in line for line in lines)
    assert len(whole.paragraphs.hashes) == expected > 80


def test_rows_of_lines_count_through_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xunlian.corpus.stages.ngrams.BLOCK", 100)
    found = sign(["x" * 60] * 7, bands_for(0.8), 50).paragraphs
    assert found.rows.tolist() == list(range(7))


def test_texts_without_tokens_and_no_texts_are_signed() -> None:
    shape = bands_for(0.8)
    signed = sign(["", "...", "\n"], shape, 10)
    assert signed.tokens.tolist() == signed.sketch_sizes.tolist() == [0, 0, 0]
    assert sign([], shape, 10).exact.shape == (0, 2)
    assert sign([], shape, 10).bands.shape == (0, shape.bands)
    assert sign(["a b c"], bands_for(1)).bands.shape == (1, 0)
