"""Pairs out of two text files, line by line; and where two files of unequal length drift apart."""

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from xunlian.corpus.reading.decode import decode
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.trouble import Advance
from xunlian.corpus.reading.unpack import read_bytes
from xunlian.errors import InputError

_LONGEST_LINE = 1 << 24  # characters; a longer one is no line but a file without line ends


def read_aligned(
    source: Source, target: Source, encoding: str, advance: Advance
) -> Iterator[tuple[str, str]]:
    """Each line of `source` with the line of the same number of `target`.

    A line ends at a line feed, with or without a carriage return before it, and nowhere else: one
    side may hold characters that other programs take for line ends.

    Raises:
        InputError: one has more lines; it says both counts and where they seem to drift apart.
    """
    sides = (_lines(file, encoding, advance) for file in (source, target))
    for left, right in zip_longest(*sides):
        if left is None or right is None:
            raise _unequal(source, target, encoding)
        yield left, right


def _lines(source: Source, encoding: str, advance: Advance) -> Iterator[str]:
    held = ""
    for block in decode(read_bytes(source, advance), source.name, encoding):
        *whole, held = (held + block).split("\n")
        for line in whole:
            yield line.rstrip("\r").replace("\r", " ")
        if len(held) > _LONGEST_LINE:
            raise InputError(
                f"'{source.name}' has a line of over {_LONGEST_LINE:,} characters: aligned files "
                "hold one pair a line."
            )
    if held:
        yield held.rstrip("\r").replace("\r", " ")


def _unequal(source: Source, target: Source, encoding: str) -> InputError:
    left, right = (
        np.fromiter((len(line) for line in _lines(file, encoding, lambda _: None)), np.int32)
        for file in (source, target)
    )
    place = drift(left, right)
    shorter = min(len(left), len(right))
    where = (
        f"They seem to match up to line {shorter:,}, where the shorter one ends"
        if place == shorter
        else f"They seem to drift apart at line {place + 1:,}"
    )
    return InputError(
        f"'{source.name}' has {len(left):,} lines and '{target.name}' {len(right):,}. {where}. "
        "Aligned files hold one pair a line."
    )


def drift(left: np.ndarray, right: np.ndarray) -> int:
    """The first line (from 0) at which two sides of unequal length seem to drift apart.

    The lengths of a line and its translation are proportional, more or less. The place is the one
    for which the lines before it fit best as they are numbered, and those after it when the
    longer side is moved up by as many lines as it has more.

    Args:
        left, right: characters of each line, of different lengths.
    """
    short, long = sorted((np.log1p(left), np.log1p(right)), key=len)
    more = len(long) - len(short)
    if not len(short):
        return 0
    usual = np.median(short) - np.median(long)
    as_numbered = np.abs(short - long[: len(short)] - usual)
    moved = np.abs(short - long[more:] - usual)
    cost = np.concatenate([[0.0], np.cumsum(as_numbered - moved)])
    # A file that was cut off is likely enough to win when it fits about as well.
    return len(short) if cost[-1] - cost.min() < 1 else int(np.argmin(cost))
