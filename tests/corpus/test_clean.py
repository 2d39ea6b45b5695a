import unicodedata
from collections import Counter

import pytest

from xunlian.corpus.clean import clean, count_han, count_words, is_blank


def test_cleaning_changes_only_line_ends_controls_and_normal_form() -> None:
    changes: Counter[str] = Counter()
    assert clean("\ufeffa\r\nb\rc\n\td\x00\x1b[0m e\x85\x0c cafe\u0301", changes) == (
        "a\nb\nc\n\td[0m e caf\u00e9"
    )
    assert changes == {"line_ends": 2, "control_characters": 5, "pieces_normalized": 1}
    kept = "中文，「标点」　全角 ＡＢＣ \u200b zero-width ﬁ ½ Ⅷ 🙂 \u00a0nbsp"
    assert clean(kept, changes) == kept


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
