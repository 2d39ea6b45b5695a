"""Texts in parts that fit, and joined again; units of words and characters."""

import pytest

from xunlian.decoding.alignment import count_units, units_of_tokens
from xunlian.decoding.sentences import join_texts, parts_that_fit, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello world. It is 3.14! Ok", ["Hello world. ", "It is 3.14! ", "Ok"]),
        ("你好。“是的。”他说。abc", ["你好。", "“是的。”", "他说。", "abc"]),
        ("What?! No... yes", ["What?! ", "No... ", "yes"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentences_are_found_in_english_and_chinese(text, expected):
    assert sentences(text) == expected
    assert "".join(sentences(text)) == text


def encode(text):
    return [ord(character) for character in text]


def decoded(parts):
    return ["".join(map(chr, part)) for part in parts]


def test_parts_hold_as_many_sentences_as_fit():
    parts, cut = parts_that_fit("Aa. Bb. Cc. Dddd.", encode, 8)
    assert (decoded(parts), cut) == (["Aa. Bb.", "Cc.", "Dddd."], False)
    assert parts_that_fit("Aa. Bb.", encode, 20) == ([encode("Aa. Bb.")], False)
    assert parts_that_fit("", encode, 20) == ([], False)


def test_a_sentence_that_is_too_long_is_cut_and_nothing_is_lost():
    parts, cut = parts_that_fit("Aa. " + "x" * 19 + ". Bb.", encode, 8)
    assert (decoded(parts), cut) == (["Aa.", "x" * 8, "x" * 8, "xxx.", "Bb."], True)


def test_texts_are_joined_with_a_space_but_not_in_chinese():
    assert join_texts(["A.", "", " B. "]) == "A. B."
    assert join_texts(["你好。", "是的。"]) == "你好。是的。"
    assert join_texts([]) == ""


def test_units_are_words_and_chinese_characters():
    assert count_units("the cat, 你好 x") == 5
    pieces = ["th", "e", " c", "at", " ", "你", "好"]
    units = units_of_tokens(range(7), lambda ids: "".join(pieces[i] for i in ids))
    assert units == [0, 0, 1, 1, 1, 2, 3]
