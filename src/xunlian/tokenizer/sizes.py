"""How large a vocabulary should be, and which characters belong in it."""

from collections import Counter
from typing import Literal

Kind = Literal["bpe", "unigram", "wordpiece", "byte", "char"]

# A larger vocabulary makes shorter sequences but leaves fewer examples per token, and in a small
# model the output head eats the arithmetic. These steps keep some hundred occurrences of the
# average token: (at least so many bytes of text, tokens).
_STEPS = (
    (500_000_000, 32768),
    (50_000_000, 16384),
    (8_000_000, 8192),
    (2_500_000, 4096),
    (500_000, 2048),
    (0, 1024),
)
_LARGEST = _STEPS[0][1]


def derived_vocab_size(kind: str, text_bytes: int, han_share: float) -> int:
    """The vocabulary for a text when the user names none.

    Args:
        kind: the tokenizer's kind.
        text_bytes: UTF-8 bytes of the training text.
        han_share: the share of Han and Kana among its characters, 0 to 1. Their scripts need
            thousands of tokens for single characters before the first word, hence twice the size.
    """
    if kind == "byte":
        return 257
    if kind == "char":
        return _LARGEST  # an upper bound: there are as many tokens as characters
    size = next(tokens for least, tokens in _STEPS if text_bytes >= least)
    return min(_LARGEST, size * 2) if han_share > 0.3 else size


def frequent(counts: Counter[str], most: int, coverage: float = 1.0) -> list[str]:
    """The most frequent keys that cover `coverage` of all occurrences, at most `most` of them.

    Equal counts are ordered by the key, so that the result does not depend on hashing.
    """
    needed = coverage * counts.total()
    chosen: list[str] = []
    covered = 0
    for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(chosen) >= most or covered >= needed:
            break
        chosen.append(key)
        covered += count
    return chosen
