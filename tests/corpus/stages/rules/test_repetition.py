"""Repetition is counted as a loop over each text counts it."""

import random
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from xunlian.corpus.stages.rules.limits import ENGLISH
from xunlian.corpus.stages.rules.repetition import (
    Grams,
    duplicates,
    filled_lines,
    paragraphs,
    repetition,
)
from xunlian.corpus.stages.rules.table import Table


def random_texts(seed: int, count: int = 40) -> list[str]:
    """Texts of few words and lines, so that much repeats."""
    source = random.Random(seed)
    lines = ["the cat sat on the mat", "a b", "", "中文字符", "the cat", " ", "x, y", "a b a b a b"]
    texts = ["", "\n", "\n\n", " \n\n ", "a", "a\n", "\na", "a\n\na\n\na", "\n\na\n\n"]
    for _ in range(count):
        texts.append("\n".join(source.choices(lines, k=source.randrange(1, 40))))
        texts.append(" ".join(source.choices(["the", "cat", "sat", "a"], k=source.randrange(80))))
    return texts


def slow_duplicates(parts: list[str]) -> tuple[int, int]:
    again = [part for index, part in enumerate(parts) if part in parts[:index]]
    return len(again), sum(map(len, again))


def slow_top(words: list[str], n: int) -> int:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def slow_repeated(words: list[str], n: int) -> int:
    seen, total, i = set(), 0, 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        if gram in seen:
            total += sum(map(len, gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


@pytest.mark.parametrize("seed", range(4))
def test_duplicate_lines_and_paragraphs(seed: int) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    for split, spans in (
        (lambda text: [line for line in text.split("\n") if line.strip()], filled_lines(table)),
        (lambda text: re.split(r"\n{2,}", text.strip()), paragraphs(table)),
    ):
        count, length = duplicates(table, spans)
        for index, text in enumerate(texts):
            if text.strip():  # an empty one is dropped for that
                parts = split(text)
                assert spans.counts[index] == len(parts), repr(text)
                assert (count[index], length[index]) == slow_duplicates(parts), repr(text)


@pytest.mark.parametrize("seed", range(4))
def test_top_and_repeated_grams(seed: int) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    grams = Grams(table)
    words = [_words(table, index) for index in range(len(texts))]
    for n in (2, 3, 4):
        assert grams.top(n).tolist() == [slow_top(found, n) for found in words]
    everyone = np.arange(len(texts))
    for n in (5, 7, 10):
        expected = [slow_repeated(found, n) for found in words]
        assert grams.repeated(n, everyone).tolist() == expected
        assert (grams.covered(n) >= expected).all()


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_are_those_of_the_rules_read_aloud(seed: int) -> None:
    texts = [text for text in random_texts(seed) if text.strip()]
    table = Table(texts)
    broken = repetition(table, ENGLISH)
    for index, text in enumerate(texts):
        words = _words(table, index)
        lines = [line for line in text.split("\n") if line.strip()]
        blocks = re.split("\n{2,}", text.strip())
        expected = {
            "duplicate_paragraphs": slow_duplicates(blocks)[0] / len(blocks) > 0.3,
            "duplicate_paragraph_characters": slow_duplicates(blocks)[1] / len(text) > 0.2,
            "duplicate_lines": slow_duplicates(lines)[0] / len(lines) > 0.3,
            "duplicate_line_characters": slow_duplicates(lines)[1] / len(text) > 0.2,
        }
        for n, limit in ENGLISH.top_grams:
            expected[f"top_{n}_gram"] = slow_top(words, n) / len(text) > limit
        for n, limit in ENGLISH.duplicate_grams:
            expected[f"duplicate_{n}_grams"] = slow_repeated(words, n) / len(text) > limit
        found = [name for name, flags in broken.items() if flags[index]]
        others = [name for name, breaks in expected.items() if breaks]
        assert list(expected) == list(broken)
        # Who broke a rule is not asked for more duplicate n-grams.
        assert found[:1] == others[:1], text
        assert set(found) <= set(others), text


def test_a_document_does_not_see_its_neighbours_repetition() -> None:
    text = (
        "One plain sentence that stands here once, and nothing of it comes again, because every "
        "word differs from those before, however long you choose to go on reading such prose."
    )
    broken = repetition(Table([text] * 50), ENGLISH)
    assert not any(flags.any() for flags in broken.values())


def test_only_suspects_are_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    real = Grams.repeated

    def watch(self: Grams, n: int, documents: np.ndarray) -> np.ndarray:
        walked.extend(documents.tolist())
        return real(self, n, documents)

    monkeypatch.setattr(Grams, "repeated", watch)
    plain = " ".join(f"word{number}" for number in range(500))
    again = " ".join(f"we{number} say all that has to be said " for number in range(50))
    table = Table([plain, again])
    lenient = replace(ENGLISH, top_grams=())
    broken = repetition(table, lenient)
    assert set(walked) == {1}
    assert broken["duplicate_5_grams"].tolist() == [False, True]
    walked.clear()
    repetition(table, lenient, settled=np.array([False, True]))
    assert not walked


def test_limits_are_settings() -> None:
    table = Table(["a b c d e f g\nx\nx\ny"])
    assert not repetition(table, ENGLISH)["duplicate_lines"][0]
    strict = replace(ENGLISH, duplicate_lines=0.2)
    assert repetition(table, strict)["duplicate_lines"][0]


def _words(table: Table, document: int) -> list[str]:
    spans = table.words
    here = slice(spans.bounds[document], spans.bounds[document + 1])
    pairs = zip(spans.starts[here], spans.ends[here], strict=True)
    return ["".join(map(chr, table.codes[a:b])) for a, b in pairs]
