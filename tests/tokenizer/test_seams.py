"""At a seam a word may be cut: no token of the whole word reaches across."""

import random

import numpy as np
import pytest

from xunlian.recipe.samples import samples_folder
from xunlian.tokenizer.seams import Seams


def seams(tokens: list[bytes], text: str) -> str:
    """The text with a bar at each seam."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    between = Seams(tokens).between(codes[:-1], codes[1:])
    return text[0] + "".join(
        "|" * cut + sign for cut, sign in zip(between.tolist(), text[1:], strict=True)
    )


@pytest.mark.parametrize(
    ("tokens", "marked"),
    [
        ([], "明|月|几|时|é|a"),
        (["明月"], "明月|几|时|有"),
        (["明月几", "几时"], "明月几时|有"),
        ([" 明"], "x 明|月".replace("x", "é|")),
    ],
)
def test_pairs_within_a_token_have_no_seam(tokens: list[str], marked: str) -> None:
    assert seams([token.encode() for token in tokens], marked.replace("|", "")) == marked


def test_a_part_of_a_character_binds_all_that_it_may_be_a_part_of() -> None:
    first, second = "明".encode(), "月".encode()
    for token in (
        first[2:] + second[:1],
        first[1:] + second,
        first + second[:2],
        first[2:] + second,
    ):
        assert seams([token], "明月") == "明月"
    assert seams([first[:2], second[1:]], "明月") == "明|月"
    assert seams(["é".encode()[1:] + "😀".encode()[:1]], "é😀月") == "é😀|月"


def test_nothing_reaches_across_a_seam_in_any_text() -> None:
    source = random.Random(2)
    text = (samples_folder() / "songci.txt").read_text("utf-8")[:3000] + "é😀ab" * 20
    data = text.encode()
    starts = [source.randrange(len(data)) for _ in range(400)]
    tokens = [data[i : i + source.randrange(2, 12)] for i in starts]
    marked = seams(tokens, text)
    assert marked.count("|") > 100
    parts = [part.encode() for part in marked.split("|")]
    borders = set(np.cumsum([*map(len, parts)]).tolist())
    for token in tokens:
        place = data.find(token)
        while place >= 0:
            inside = range(place + 1, place + len(token))
            # Between ASCII characters no seams are looked for.
            assert not any(
                at in borders and (data[at] > 127 or data[at - 1] > 127) for at in inside
            )
            place = data.find(token, place + 1)
