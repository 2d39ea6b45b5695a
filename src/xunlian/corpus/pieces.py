"""Documents in pieces of bounded length, so that a document of any size can be prepared."""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

PIECE = 1 << 18
"""Characters of a piece at most: large enough to keep overhead away, small enough for many."""

Pieces = Iterator[tuple[str, bool]]
"""Texts, and whether each is the last piece of its document."""


class Piece(NamedTuple):
    """A piece of a document: `first` and `last` say whether it begins and ends it."""

    text: str
    first: bool
    last: bool


def cut(text: str) -> int:
    """Where to cut without disturbing cleaning or a word: after a line, before a space."""
    for mark, after in (("\n", 1), (" ", 0)):
        place = text.rfind(mark, PIECE // 2, PIECE)
        if place > 0:
            return place + after
    place = PIECE
    while place > PIECE - 100 and _composes(text[place]):
        place -= 1
    return place


def _composes(character: str) -> bool:
    """Whether it may join the one before it: a combining mark, or a part of a Hangul syllable."""
    return bool(unicodedata.combining(character)) or "\u1160" <= character <= "\u11ff"


def in_pieces(text: str) -> Pieces:
    """A document that is in memory, in pieces."""
    while len(text) > PIECE:
        end = cut(text)
        yield text[:end], False
        text = text[end:]
    yield text, True


class Passage(NamedTuple):
    """A piece of a document as it was read, on its way into the stages.

    Attributes:
        text: of a page ('html') always all of it, with its markup.
        kind: 'text' or 'html'.
        id: of the document: its file and its number there, and its address if it has one. It is the
            same at every reading, as long as the file is cut into the same parts.
    """

    text: str
    first: bool
    last: bool
    kind: str
    id: str
