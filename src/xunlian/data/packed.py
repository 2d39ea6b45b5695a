"""Packed rows of fixed length from a token stream.

The stream (documents one after the other, each ending with the end token) is read as a circle and
cut into rows of the context length; nothing is padded and nothing is lost. Every epoch cuts at
another offset, so a row seen again is not the same row, and takes the rows in another order.
"""

from typing import Protocol

import numpy as np

from xunlian.data.order import epoch_offset, permute
from xunlian.errors import InputError


class Stream(Protocol):
    """A long sequence of tokens that can be read in parts."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray: ...


class PackedRows:
    """Training rows by index: row r belongs to epoch r // rows_per_epoch.

    Args:
        stream: the training tokens.
        context: tokens of a row.
        seed: decides the order and the cuts.

    Raises:
        InputError: the stream is shorter than one row and its targets.
    """

    def __init__(self, stream: Stream, context: int, seed: int):
        check_length(stream, context)
        self.stream, self.context, self.seed = stream, context, seed
        self.rows_per_epoch = len(stream) // context

    @property
    def row_tokens(self) -> float:
        """Tokens of a row: all are real."""
        return self.context

    def largest(self, count: int) -> tuple[int, int, int]:
        """Rows, target places and source places of `count` rows."""
        return count, self.context, 0

    def read(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of rows first .. first+count-1, each (count, context), int64."""
        rows = np.stack(
            [
                read_circle(self.stream, start, self.context + 1)
                for start in self._starts(first, count)
            ]
        )
        return rows[:, :-1], rows[:, 1:]

    def _starts(self, first: int, count: int) -> list[int]:
        starts: list[int] = []
        while count:
            epoch, row = divmod(first, self.rows_per_epoch)
            taken = min(count, self.rows_per_epoch - row)
            order = permute(np.arange(row, row + taken), self.rows_per_epoch, self.seed, epoch)
            offset = epoch_offset(self.context, self.seed, epoch)
            starts += (order * self.context + offset).tolist()
            first, count = first + taken, count - taken
        return starts


def check_length(stream: Stream, context: int) -> None:
    """Raises InputError: the stream is shorter than one row and its targets."""
    if len(stream) <= context:
        raise InputError(
            f"The training text has {len(stream)} tokens, too few for one context of "
            f"{context}. Add text, or set model.context to {max(8, len(stream) // 4)} or less."
        )


def read_circle(stream: Stream, start: int, length: int) -> np.ndarray:
    """Tokens start .. start + length - 1 of the stream, after whose end it begins again."""
    total = len(stream)
    start %= total
    if start + length <= total:
        return stream.read(start, start + length)
    return np.concatenate([stream.read(start, total), stream.read(0, start + length - total)])
