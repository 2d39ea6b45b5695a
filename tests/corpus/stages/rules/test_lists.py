"""A user's keywords and regular expressions find what they name, and none can hang the job."""

import random
import re
import time

import pytest

from xunlian.corpus.stages.rules.lists import compile_lists
from xunlian.errors import InputError


def keyword(text: str, *words: str) -> str | None:
    found = compile_lists(words, []).find(text, 1)
    return found[1] if found else None


def test_english_keywords_are_whole_words_in_either_case() -> None:
    assert keyword("Buy CHEAP pills", "cheap") == "cheap"
    assert keyword("cheaper pills", "cheap") is None
    assert keyword("not dirtcheap", "cheap") is None
    assert keyword("it is (cheap).", "Cheap") == "cheap"
    assert keyword("cheap pills here", "cheap pills") == "cheap pills"


def test_chinese_keywords_are_found_anywhere() -> None:
    assert keyword("欢迎来到澳门赌场网站", "赌场") == "赌场"
    assert keyword("买NBA门票", "nba") == "nba"
    assert keyword("赌 场", "赌场") is None


def test_keywords_that_begin_alike_are_all_found() -> None:
    words = ("car", "cart", "carts now", "c++", "c", "赌", "赌场")
    for word in words:
        assert keyword(f"we say {word} now", *words)
    assert keyword("we say carton now", *words) is None


def test_many_keywords_agree_with_a_search_one_by_one() -> None:
    source = random.Random(1)
    words = {
        "".join(source.choices("abc中文 .", k=source.randrange(1, 6))).strip() for _ in range(300)
    }
    words = sorted(word for word in words if word)[::3]
    lists = compile_lists(words, [])
    hits = 0
    for _ in range(300):
        text = "".join(source.choices("abcd中文国 .", k=8))
        slow = any(
            re.search(
                ("(?<![a-z0-9])" if word[0].isascii() and word[0].isalnum() else "")
                + re.escape(word)
                + ("(?![a-z0-9])" if word[-1].isascii() and word[-1].isalnum() else ""),
                text,
            )
            for word in words
        )
        hits += slow
        assert (lists.find(text, 1) is not None) == slow, text
    assert 20 < hits < 290


def test_patterns_are_searched() -> None:
    lists = compile_lists([], [r"\d{3}-\d{4}", "^Advertisement"])
    assert lists.find("call 555-1234", 1) == ("pattern", r"\d{3}-\d{4}")
    assert lists.find("No Advertisement", 1) is None


def test_a_slow_pattern_is_stopped_and_named() -> None:
    lists = compile_lists([], ["(a+)+$"])
    start = time.monotonic()
    assert lists.find("a" * 5000 + "!", 0.05) == ("slow_pattern", "(a+)+$")
    assert time.monotonic() - start < 5


def test_a_wrong_entry_is_named() -> None:
    with pytest.raises(InputError, match=r"'\(' is no regular expression"):
        compile_lists([], ["("])
    with pytest.raises(InputError, match="blank"):
        compile_lists(["  "], [])
