"""Fertility: how many tokens a tokenizer makes of a unit of text (Ács 2019; lower is better).

Compare it between tokenizers on the same text: English by words, Chinese by characters.
"""

from collections.abc import Iterable
from typing import Any

from xunlian.corpus.clean import count_han
from xunlian.tokenizer.tokenizer import Tokenizer


def fertility(texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """Tokens per unit, by script, over the lines of `texts`.

    A line counts as Chinese when at least half of its letters are Han or Kana, and as English
    (any script with spaces) when fewer than a tenth are. A script that does not occur is None.
    """
    lines: dict[str, list[str]] = {"chinese": [], "english": []}
    for text in texts:
        for line in text.split("\n"):
            han = count_han(line)
            letters = sum(map(str.isalpha, line))
            if letters and han >= 0.5 * letters:
                lines["chinese"].append(line)
            elif letters and han < 0.1 * letters:
                lines["english"].append(line)
    characters = sum(len(line) for line in lines["chinese"])
    words = sum(len(line.split()) for line in lines["english"])
    return {
        "chinese_tokens_per_character": _ratio(_tokens(lines["chinese"], tokenizer), characters),
        "chinese_characters_measured": characters,
        "english_tokens_per_word": _ratio(_tokens(lines["english"], tokenizer), words),
        "english_words_measured": words,
    }


def _tokens(lines: list[str], tokenizer: Tokenizer) -> int:
    step = 2000
    return sum(
        len(ids)
        for first in range(0, len(lines), step)
        for ids in tokenizer.encode_batch(lines[first : first + step])
    )


def _ratio(tokens: int, units: int) -> float | None:
    return round(tokens / units, 4) if units else None
