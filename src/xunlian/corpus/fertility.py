"""Fertility: how many tokens a tokenizer makes of a unit of text (Ács 2019; lower is better).

Compare it between tokenizers on the same text: English by words, Chinese by characters.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from xunlian.corpus.clean import count_han
from xunlian.tokenizer.bulk import bulk_encoder
from xunlian.tokenizer.tokenizer import Tokenizer

FERTILITY_BYTES = 1_000_000  # of text, enough for three digits


def fertility(*parts: tuple[Iterable[str], Tokenizer]) -> dict[str, Any]:
    """Tokens per unit, by script, over the lines of texts, each part with its tokenizer.

    A line counts as Chinese when at least half of its letters are Han or Kana, and as English
    (any script with spaces) when fewer than a tenth are. A script that does not occur is None.
    """
    characters = words = chinese_tokens = english_tokens = 0
    for texts, tokenizer in parts:
        chinese, english = _by_script(texts)
        characters += sum(map(len, chinese))
        words += sum(len(line.split()) for line in english)
        chinese_tokens += _tokens(chinese, tokenizer)
        english_tokens += _tokens(english, tokenizer)
    return {
        "chinese_tokens_per_character": _ratio(chinese_tokens, characters),
        "chinese_characters_measured": characters,
        "english_tokens_per_word": _ratio(english_tokens, words),
        "english_words_measured": words,
    }


def _by_script(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    chinese: list[str] = []
    english: list[str] = []
    for text in texts:
        for line in text.split("\n"):
            han = count_han(line)
            letters = sum(map(str.isalpha, line))
            if letters and han >= 0.5 * letters:
                chinese.append(line)
            elif letters and han < 0.1 * letters:
                english.append(line)
    return chinese, english


def _tokens(lines: list[str], tokenizer: Tokenizer) -> int:
    return int(bulk_encoder(tokenizer)(lines)[1].sum())


def _ratio(tokens: int, units: int) -> float | None:
    return round(tokens / units, 4) if units else None


def overall(splits: dict[str, Any]) -> dict[str, float]:
    """Tokens a byte over all splits, from their cards."""
    tokens = sum(split["tokens"] for split in splits.values())
    size = sum(split["bytes"] for split in splits.values())
    return {"tokens_per_byte": round(tokens / size, 4)}


def head(sample: Iterator[str]) -> Iterator[str]:
    """The sample's first texts, as many as fertility needs."""
    size = 0
    for text in sample:
        yield text
        size += len(text.encode())
        if size >= FERTILITY_BYTES:
            return
