"""Gopher's, C4's and FineWeb's rules, beside a slow and obvious version of each."""

import random
from dataclasses import replace

import numpy as np
import pytest

from xunlian.corpus.stages.rules.c4 import c4, kept_texts, remove_citations
from xunlian.corpus.stages.rules.fineweb import fineweb
from xunlian.corpus.stages.rules.gopher import gopher
from xunlian.corpus.stages.rules.limits import CHINESE, ENGLISH
from xunlian.corpus.stages.rules.table import Table

LINES = [
    "The cat and the dog have to be here.",
    "- a bullet of that list",
    "  • another one with 12 34 56",
    "It goes on and on...",
    "and on…",
    "Home",
    "",
    "   ",
    "### ## # !!! ???",
    'She said: "Stop! Now." Then they left. Did they?',
    "中文句子。还有一句！",
    "Please enable JavaScript to see this page.",
    "Read our Privacy Policy and Terms of Use here.",
    "x " + "y" * 1001 + " z.",
]


def random_texts(seed: int, count: int = 60) -> list[str]:
    source = random.Random(seed)
    texts = ["word", "!!!", "\n\nThe end of that.\n"]
    for _ in range(count):
        texts.append("\n".join(source.choices(LINES, k=source.randrange(1, 25))))
    return [text for text in texts if text.strip()]


def words_of(table: Table, document: int) -> list[str]:
    spans = table.words
    here = slice(spans.bounds[document], spans.bounds[document + 1])
    pairs = zip(spans.starts[here], spans.ends[here], strict=True)
    return ["".join(map(chr, table.codes[a:b])) for a, b in pairs]


@pytest.mark.parametrize("seed", range(3))
def test_gopher(seed: int) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    limits = replace(ENGLISH, least_words=20)
    broken = gopher(table, limits)
    for index, text in enumerate(texts):
        words = words_of(table, index)
        real = [word for word in words if any(c.isalnum() or c == "é" for c in word)]
        length = sum(map(len, real)) / max(len(real), 1)
        lines = text.splitlines()
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
        expected = {
            "too_few_words": len(real) < 20,
            "too_many_words": False,
            "short_words": length < 3,
            "long_words": length > 10,
            "hash_signs": text.count("#") / len(words) > 0.1,
            "ellipses": (text.count("...") + text.count("…")) / len(words) > 0.1,
            "bullet_lines": bullets / len(lines) > 0.9,
            "ellipsis_lines": ellipses / len(lines) > 0.3,
            "words_without_letters": sum(any(map(str.isalpha, word)) for word in words) / len(words)
            < 0.8,
            "few_stop_words": len(set(words) & set(ENGLISH.stop_words)) < 2,
        }
        assert {name: bool(flags[index]) for name, flags in broken.items()} == expected, text


def slow_c4(text: str, end_marks: bool) -> tuple[list[str], bool, int]:
    """Kept lines, whether a curly bracket stood in one, and the sentences of the kept."""
    kept, curly, sentences = [], False, 0
    for line in text.split("\n"):
        stripped = line.strip()
        if any(len(word) > 1000 for word in stripped.split()):
            continue
        if end_marks and (
            not stripped.endswith((".", "?", "!", '"', "'")) or stripped[-3:] == "..."
        ):
            continue
        if len(stripped.split()) < 3:
            continue
        low = stripped.lower()
        if "javascript" in low:
            continue
        curly |= "{" in stripped
        if "privacy policy" in low or "terms of use" in low:
            continue
        kept.append(line)
        sentences += slow_sentences(words_of(Table([line]), 0))
    return kept, curly, sentences


def slow_sentences(words: list[str]) -> int:
    """As spaCy's sentencizer: a word behind an end mark, but no mark, begins a sentence."""
    count, ended = 1, False
    for word in words:
        if ended and any(c.isalnum() for c in word):
            count, ended = count + 1, False
        ended |= word in {".", "?", "!", "。", "！", "？"}
    return count


@pytest.mark.parametrize("end_marks", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_c4(seed: int, end_marks: bool) -> None:
    texts = [*random_texts(seed), "A line with { in it.\nAnother line, which is good."]
    table = Table(texts)
    lines = c4(table, ENGLISH, end_marks)
    left = kept_texts(table, lines)
    for index, text in enumerate(texts):
        kept, curly, sentences = slow_c4(text, end_marks)
        assert [line for line in left[index].split("\n") if line.strip()] == kept, text
        assert bool(lines.broken["curly_bracket"][index]) == curly
        assert bool(lines.broken["too_few_sentences"][index]) == (sentences < 5), text


def test_c4_counts_the_lines_it_drops_and_keeps_paragraphs_apart() -> None:
    text = "First line here.\n\nMenu\n\nSecond line here.\nThird line here.\n\n\n\nFourth is it."
    table = Table([text, "Nothing to drop here.\n\n\n\nAnd nothing there."])
    lines = c4(table, ENGLISH, end_marks=False)
    assert {name: sum(n) for name, n in lines.dropped.items() if sum(n)} == {
        "lines_of_few_words": 1
    }
    left = kept_texts(table, lines)
    assert left[0] == ("First line here.\n\nSecond line here.\nThird line here.\n\nFourth is it.")
    assert left[1] is table.texts[1]


def test_c4_finds_phrases_behind_letters_whose_lower_case_is_longer() -> None:
    text = "İİİİİİİİİİİİ is a letter.\nSet your JAVASCRIPT on here.\nThird line of it."
    table = Table([text])
    lines = c4(table, ENGLISH, end_marks=False)
    assert kept_texts(table, lines) == ["İİİİİİİİİİİİ is a letter.\nThird line of it."]


def test_c4_drops_filler() -> None:
    table = Table(["Here stands Lorem ipsum dolor sit amet.", "Here does not."])
    assert c4(table, ENGLISH, end_marks=False).broken["lorem_ipsum"].tolist() == [True, False]


def test_c4_knows_the_foot_of_a_chinese_page() -> None:
    text = "今天天气很好，我们去公园玩。\n京ICP备12345678号\n请阅读本站的隐私政策。\n他们都很高兴。"
    table = Table([text])
    lines = c4(table, CHINESE, end_marks=False)
    assert kept_texts(table, lines) == ["今天天气很好，我们去公园玩。\n他们都很高兴。"]
    assert lines.dropped["lines_on_policy"].tolist() == [2]


def test_citations_are_removed() -> None:
    texts, counts = remove_citations(
        ["One[12] two[edit] [citation needed].", "a [b] c", "他[来源请求]。"]
    )
    assert texts == ["One two .", "a [b] c", "他。"]
    assert counts.tolist() == [3, 0, 1]


@pytest.mark.parametrize("kept_only", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_fineweb(seed: int, kept_only: bool) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    kept = np.array([i % 3 > 0 for i in range(len(table.lines.starts))]) if kept_only else None
    broken = fineweb(table, ENGLISH, kept)
    number = 0
    for index, text in enumerate(texts):
        lines = text.split("\n")
        flags = [not kept_only or (number + i) % 3 > 0 for i in range(len(lines))]
        number += len(lines)
        left = [line.strip() for line, flag in zip(lines, flags, strict=True) if flag]
        left = [line for line in left if line]
        breaks = len(left) - 1 if kept_only else text.count("\n")
        words = sum(len(words_of(Table([line]), 0)) for line in left)
        again = [line for i, line in enumerate(left) if line in left[:i]]
        size = max(len(left), 1)
        expected = {
            "empty": not left,
            "unpunctuated_lines": sum(line[-1] in ".?!。！" for line in left) / size < 0.12,
            "short_lines": sum(len(line) <= 30 for line in left) / size > 0.67,
            "repeated_line_characters": sum(map(len, again)) / max(sum(map(len, left)), 1) > 0.01,
            "line_breaks": max(breaks, 0) / max(words, 1) > 0.3,
        }
        assert {name: bool(flags[index]) for name, flags in broken.items()} == expected, text
