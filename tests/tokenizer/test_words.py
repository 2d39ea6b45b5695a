"""Words begin where the library's own expression says."""

import random
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Regex, pre_tokenizers

from xunlian.tokenizer.patterns import WORDS
from xunlian.tokenizer.words import BETWEEN, Kinds, word_starts

PIECES = [
    *" \n\r\t'aSsTdDmLlvVeErR19,.!中é。“（",
    *(
        "  ",
        "\n\n",
        "'s",
        "'ll",
        "'RE",
        "'ve",
        "\r\n",
        "\u00a0",
        "\u3000",
        "ſ",
        "'ſ",
        "😀",
        "👩‍👩‍👧",
    ),
    *("e\u0301", "\x00", "\x1c", "\x85", "\u2028", "\u200b", "Ⅷ", "²", "٣", "ا", "ไ", "の", "한"),
]


SPLIT = pre_tokenizers.Split(Regex(WORDS), "isolated")


def by_library(text: str) -> list[str]:
    return [word for word, _ in SPLIT.pre_tokenize_str(text)]


def by_arrays(texts: list[str]) -> list[list[str]]:
    joined = "\0" + "\0".join(texts) + "\0"
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    kinds = Kinds().of(codes)
    borders = np.cumsum([0, *(len(text) + 1 for text in texts)])
    kinds[borders] = BETWEEN
    starts = word_starts(codes, kinds)
    assert starts[borders].all()
    result = []
    for text, border in zip(texts, borders, strict=False):
        places = [*np.flatnonzero(starts[border + 1 : border + 1 + len(text)]).tolist(), len(text)]
        result.append([text[a:b] for a, b in pairwise(places)])
    return result


@pytest.mark.parametrize("seed", range(3))
def test_words_of_random_text_are_those_of_the_expression(seed: int) -> None:
    source = random.Random(seed)
    texts = [
        "".join(source.choices(PIECES, k=source.randrange(16)))
        for _ in range(source.randrange(4000, 5000))
    ]
    assert by_arrays(texts) == [by_library(text) for text in texts]


def test_every_short_row_of_the_kinds_that_matter_is_split_alike() -> None:
    signs = ["", " ", "\t", "\n", "a", "1", ".", "'", "s"]
    texts = [
        "".join((a, b, c, d, e))
        for a in signs
        for b in signs
        for c in signs
        for d in signs
        for e in signs[:4]
    ]
    assert by_arrays(texts) == [by_library(text) for text in texts]


def test_contractions_are_found_in_whatever_case_and_no_others() -> None:
    letters = map(
        chr,
        [
            *range(0x41, 0x530),
            *range(0x1E00, 0x2000),
            *range(0x2100, 0x2190),
            *range(0xFB00, 0xFB07),
            *range(0xFF21, 0xFF5B),
        ],
    )
    texts = [
        text for letter in letters for text in (f"it'{letter}x", f"it'l{letter}x", f"it'{letter}ex")
    ]
    assert by_arrays(texts) == [by_library(text) for text in texts]


def test_characters_are_of_the_kinds_of_the_library_s_unicode() -> None:
    codes = np.array(
        [*range(0x20, 0xD800, 5), *range(0xE000, 0x11000, 5), *range(0x1D400, 0x1F700, 5)]
    )
    for pattern in (r"\p{L}", r"\p{N}", r"\s"):
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        text = "".join(map(chr, codes))
        left = np.zeros(len(codes), bool)
        for _, (first, last) in split.pre_tokenize_str(text):
            left[first:last] = True
        kinds = Kinds().of(codes)
        assert not set(kinds[left]) & set(kinds[~left])
