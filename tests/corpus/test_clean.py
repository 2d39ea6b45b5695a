import random
import re
import unicodedata
from collections import Counter

import pytest

from xunlian.corpus.clean import clean, clean_all, count_han, count_words, is_blank


def test_cleaning_changes_only_line_ends_controls_and_normal_form() -> None:
    changes: Counter[str] = Counter()
    assert clean("\ufeffa\r\nb\rc\n\td\x00\x1b[0m e\x85\x0c cafe\u0301", changes) == (
        "a\nb\nc\n\td[0m e\n\n caf\u00e9"
    )
    assert changes == {"line_ends": 4, "control_characters": 3, "pieces_normalized": 1}
    kept = "中文，「标点」　全角 ＡＢＣ \u200b zero-width ﬁ ½ Ⅷ 🙂 \u00a0nbsp"
    assert clean(kept, changes) == kept


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x85"])
def test_a_line_end_of_another_system_keeps_two_words_apart(end: str) -> None:
    changes: Counter[str] = Counter()
    assert clean_all([f"one{end}two"], changes) == ["one\ntwo"]
    assert changes["line_ends"] == 1


def test_the_quick_look_for_normal_form_never_misses() -> None:
    # Every character that NFC changes, or that composes with one before it, must be looked at.
    composing = set()
    for code in range(0x110000):
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            composing.add(chr(int(parts[1], 16)))
    for code in [*range(0xD800), *range(0xE000, 0x30000)]:
        character = chr(code)
        if unicodedata.normalize("NFC", character) != character:
            assert clean(character, Counter()) == unicodedata.normalize("NFC", character)
    for character in composing:
        for before in "aeounかハ가ೆ":
            text = before + character
            assert clean(text, Counter()) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000\u00a0", "\ufeff", "\x00\x85\x1f", "\u2028"])
def test_nothing_visible_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(text + "。")


@pytest.mark.parametrize(
    ("text", "words", "han"),
    [
        ("To be, or not", 4, 0),
        ("明月几时有，把酒问青天。", 10, 10),
        ("我用 Python 3 写code。", 6, 3),
        ("日本語のテキスト", 8, 8),
        ("caf\u00e9 na\u00efve", 2, 0),
        ("", 0, 0),
    ],
)
def test_words_are_those_between_spaces_and_each_han_character(
    text: str, words: int, han: int
) -> None:
    assert count_words(text) == words
    assert count_han(text) == han


def random_texts(seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    signs = [
        *" \n\r\tab中，。é😀\u0301\x00\x1c\ufeff\x85\u3000\u1100\u1161\u212bアｱ",
        "common text 文字 ",
    ]
    signs += map(chr, range(0x250, 0x3000, 97))
    return ["".join(source.choices(signs, k=source.randrange(12))) for _ in range(count)]


def test_texts_are_cleaned_together_as_each_alone() -> None:
    for seed in range(60):
        texts = random_texts(seed, seed % 7)
        together, alone = Counter[str](), Counter[str]()
        assert clean_all(texts, together) == [clean(text, alone) for text in texts]
        assert together == alone


def test_every_character_that_is_cleaned_is_looked_at() -> None:
    codes = [*range(0xD800), *range(0xE000, 0x11000), *range(0x1D150, 0x1D1C0)]
    texts = [text for code in codes for text in (f"a{chr(code)}b", "", chr(code))]
    assert clean_all(texts, Counter()) == [clean(text, Counter()) for text in texts]


def test_words_are_counted_as_splitting_counts_them() -> None:
    for text in random_texts(1, 3000):
        rest = re.sub("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]", " ", text)
        words = re.sub("[\u3000-\u303f\uff00-\uffef]", " ", rest).split()
        assert count_words(text) == len(words) + count_han(text)
