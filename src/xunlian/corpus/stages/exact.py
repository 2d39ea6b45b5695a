"""Hashes by which equal texts and equal lines are found.

Equal means: but for case, width (compatibility forms) and the amount of white space.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from xunlian.corpus.stages.ngrams import ALONE, LINE_FEED, SPACE, Folded


class Paragraphs(NamedTuple):
    """Long lines: hashes (P,) uint64; of which text, (P,) uint32; its number there, (P,) uint32."""

    hashes: np.ndarray
    rows: np.ndarray
    numbers: np.ndarray


def exact_hashes(folded: Folded, paragraph_length: int = 0) -> tuple[np.ndarray, Paragraphs]:
    """(D, 2) uint64: 128 bits of BLAKE2b of each text; and those of its long lines.

    Args:
        paragraph_length: the least length of a line to be hashed, in characters (one of a script
            without spaces counts three); 0: no lines.
    """
    normal, place = _squeeze(folded.characters)
    exact = _digests(normal, *_stripped(normal, place[folded.starts], place[folded.ends]), 16)
    if not paragraph_length:
        none = np.zeros(0, np.uint32)
        return exact.reshape(-1, 2), Paragraphs(exact[:0], none, none)
    # Every text ends with a line feed, its separator, so lines are what lies between those.
    ends = np.flatnonzero(folded.characters == LINE_FEED)
    starts = np.concatenate(([0], ends + 1))[:-1]
    a, b = _stripped(normal, place[starts], place[ends])
    alone = np.zeros(len(normal) + 1, np.int64)
    np.cumsum((normal & ALONE) != 0, out=alone[1:])
    long = np.flatnonzero(b - a + 2 * (alone[b] - alone[a]) >= paragraph_length)
    rows = np.searchsorted(folded.ends, ends[long])
    firsts = np.searchsorted(ends, folded.starts)
    return exact.reshape(-1, 2), Paragraphs(
        _digests(normal, a[long], b[long], 8),
        rows.astype(np.uint32),
        (long - firsts[rows]).astype(np.uint32),
    )


def without_paragraphs(text: str, numbers: Iterable[int]) -> str:
    """A text without the lines of these numbers."""
    lines = text.split("\n")
    for number in sorted(numbers, reverse=True):
        del lines[number]
    return "\n".join(lines)


def _squeeze(characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The characters with one space for many, and each character's place (C,) among them."""
    is_space = (characters & SPACE) != 0
    kept = ~is_space
    kept[1:] |= ~is_space[:-1]  # the first of several spaces; none at the start of a line
    place = np.cumsum(kept) - kept
    normal = characters[kept]
    normal[normal == LINE_FEED] = ord(" ") | SPACE
    return normal, place


def _stripped(
    normal: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Without the one space at the end that may be left."""
    if not len(normal):
        return starts, ends
    return starts, ends - ((ends > starts) & ((normal[ends - 1] & SPACE) != 0))


def _digests(normal: np.ndarray, starts: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    data = memoryview(normal.tobytes())
    spans = zip((4 * starts).tolist(), (4 * ends).tolist(), strict=True)
    digests = (hashlib.blake2b(data[a:b], digest_size=size).digest() for a, b in spans)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
