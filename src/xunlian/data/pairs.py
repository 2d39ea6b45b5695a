"""Pairs packed into rows: several a row, on both sides, nothing cut and hardly anything padded.

Which pairs share a row is planned once, from their lengths alone: the longest pair that is left
opens a row, then again and again the pair that fills it best joins. Every epoch takes the rows in
another order. So any row of any epoch is found at once, and a resume needs only the row's number.
Where one side is mostly shorter, as summaries are, its rows are shorter, too: the abstracts and
summaries of SciTLDR (225 and 28 tokens) fill 512 + 144 places to 85%, 512 + 512 only to 54%.

Memory: the lengths and the plan, about 24 bytes a pair; the tokens stay in their files.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xunlian.data.order import rows_of_epochs
from xunlian.errors import InputError

SOURCE_PADDING = -1
NO_TARGET = -1  # as IGNORED in models/losses.py
POOL = 65_536  # pairs that are planned together
_SLACK = 1.05  # of the shorter side, so that the other one can be filled
_MULTIPLE = 8  # what kernels like
_CHOICES = 128  # lengths on either side are told apart up to so many steps


class Documents(Protocol):
    """Documents one after the other, each ending with the end token."""

    @property
    def document_count(self) -> int: ...

    def bounds(self, first: int, last: int) -> np.ndarray: ...

    def read(self, start: int, stop: int) -> np.ndarray: ...


class Columns:
    """Sources and targets: document i of one belongs to document i of the other.

    Attributes:
        count: how many pairs there are.
        lengths_N2: tokens of each source and target.
    """

    def __init__(self, source: Documents, target: Documents):
        self.count = source.document_count
        assert self.count == target.document_count
        self._columns = (source, target)
        self._bounds = tuple(column.bounds(0, self.count) for column in self._columns)
        self.lengths_N2 = np.stack([np.diff(bounds) for bounds in self._bounds], axis=1)

    def read(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a source and of its target."""
        source, target = (
            column.read(bounds[pair], bounds[pair + 1])
            for column, bounds in zip(self._columns, self._bounds, strict=True)
        )
        return source, target

    def nothing_fits(self, context: int) -> InputError:
        return InputError(
            f"All {self.count:,} pairs are longer than model.context = {context} tokens. "
            "Set a larger model.context."
        )


@dataclass(frozen=True)
class Plan:
    """Row r holds the pairs `order[begins[r]:begins[r + 1]]`. Pairs too long are left out.

    `widths` are the places of a row on each side.
    """

    order: np.ndarray
    begins: np.ndarray
    left_out: int
    widths: tuple[int, int]

    @property
    def rows(self) -> int:
        return len(self.begins) - 1


class PairRows:
    """Training rows by index: row r belongs to epoch r // rows_per_epoch.

    Args:
        source, target: the two columns; document i of one belongs to document i of the other.
        context: most tokens of a row on each side; longer pairs are left out.
        start_id: the token that a target starts from, and that pads.
        seed: decides the order; None: that of the plan, the same in every epoch.

    Raises:
        InputError: no pair fits.
    """

    def __init__(
        self,
        source: Documents,
        target: Documents,
        context: int,
        start_id: int,
        seed: int | None,
    ):
        self._columns = Columns(source, target)
        self.context, self.start_id, self.seed = context, start_id, seed
        self.plan = plan_rows(self._columns.lengths_N2, context)
        if not self.plan.rows:
            raise self._columns.nothing_fits(context)
        kept = self._columns.lengths_N2[self.plan.order]
        self.pairs = len(kept)
        self.source_tokens, self.target_tokens = (int(n) for n in kept.sum(axis=0))
        self.rows_per_epoch = self.plan.rows

    @property
    def row_tokens(self) -> float:
        """Real tokens of a row on both sides, on average."""
        return (self.source_tokens + self.target_tokens) / self.rows_per_epoch

    @property
    def left_out(self) -> int:
        """Pairs that are too long."""
        return self.plan.left_out

    @property
    def filled(self) -> float:
        """The share of token slots, on both sides, that hold a token."""
        return self.row_tokens / sum(self.plan.widths)

    def largest(self, count: int) -> tuple[int, int, int]:
        """Rows, target places and source places of `count` rows."""
        source, target = self.plan.widths
        return count, target, source

    def read(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows first .. first+count-1 as int64 arrays (count, width of the side): source, its pair
        numbers, target inputs, their pair numbers, targets (NO_TARGET where there is none).
        """
        source_shape, target_shape = ((count, width) for width in self.plan.widths)
        source = np.full(source_shape, self.start_id)
        source_pairs = np.full(source_shape, SOURCE_PADDING)
        inputs = np.full(target_shape, self.start_id)
        target_pairs = np.zeros(target_shape, dtype=np.int64)
        targets = np.full(target_shape, NO_TARGET)
        for i, row in enumerate(rows_of_epochs(first, count, self.rows_per_epoch, self.seed)):
            read = target_end = 0
            for number, pair in enumerate(self._pairs(row)):
                tokens, answer = self._columns.read(pair)
                source[i, read : read + len(tokens)] = tokens
                source_pairs[i, read : read + len(tokens)] = number
                inputs[i, target_end + 1 : target_end + len(answer)] = answer[:-1]
                targets[i, target_end : target_end + len(answer)] = answer
                target_pairs[i, target_end:] = number
                read, target_end = read + len(tokens), target_end + len(answer)
        return source, source_pairs, inputs, target_pairs, targets

    def _pairs(self, row: int) -> np.ndarray:
        return self.plan.order[self.plan.begins[row] : self.plan.begins[row + 1]]


def plan_rows(lengths_N2: np.ndarray, context: int) -> Plan:
    """Put the pairs of these lengths (source, target) into rows of at most `context` tokens."""
    fits = lengths_N2.max(axis=1) <= context
    widths = row_widths(lengths_N2[fits], context) if fits.any() else (context, context)
    order: list[np.ndarray] = []
    sizes: list[int] = []
    for first in range(0, len(lengths_N2), POOL):
        pool = np.flatnonzero(fits[first : first + POOL]) + first
        pool_order, pool_sizes = _plan_pool(lengths_N2[pool], widths)
        order.append(pool[pool_order])
        sizes += pool_sizes
    begins = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    joined = np.concatenate(order) if order else np.empty(0, np.int64)
    return Plan(joined, begins, int((~fits).sum()), widths)


def row_widths(lengths_N2: np.ndarray, context: int) -> tuple[int, int]:
    """Places on each side: the longer side has `context`, the other as many as it needs for the
    same pairs, but its longest must fit."""
    means, longest = lengths_N2.mean(axis=0), lengths_N2.max(axis=0)
    wanted = np.maximum(longest, context * _SLACK * means / means.max())
    source, target = np.minimum(context, -(-wanted // _MULTIPLE) * _MULTIPLE).astype(int)
    return int(source), int(target)


def _plan_pool(lengths_N2: np.ndarray, widths: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """The pairs in the order of their rows, and how many each row holds.

    Pairs wait in a grid of cells by both lengths (rounded up, for long contexts). A row is opened
    by the longest pair, then filled with the largest that fits both sides.
    """
    step = -(-max(widths) // _CHOICES)
    cells_N2 = -(-lengths_N2 // step)
    row_source, row_target = (width // step for width in widths)
    size = -(-max(widths) // step) + 1
    keys = cells_N2[:, 0] * size + cells_N2[:, 1]
    by_key = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=size * size)
    ends = np.cumsum(counts)
    left = counts.reshape(size, size)
    # What a pair fills: the sum of its shares of both sides, and of equals the more even one.
    sides = np.arange(size)
    of_source, of_target = sides[:, None] * row_target, sides[None, :] * row_source
    gain = (of_source + of_target) * size**2 - abs(of_source - of_target)
    gain_left = np.where(left > 0, gain, -1)
    order: list[int] = []
    sizes: list[int] = []
    remaining = len(lengths_N2)
    while remaining:
        room_source = room_target = size - 1  # the first pair always fits
        taken = 0
        while room_source > 0 and room_target > 0:
            part = gain_left[: room_source + 1, : room_target + 1]
            source, target = divmod(int(part.argmax()), part.shape[1])
            if part[source, target] < 0:
                break
            key = source * size + target
            order.append(int(by_key[ends[key] - left[source, target]]))
            left[source, target] -= 1
            if not left[source, target]:
                gain_left[source, target] = -1
            if not taken:
                room_source, room_target = row_source, row_target
            room_source, room_target = room_source - source, room_target - target
            taken += 1
        sizes.append(taken)
        remaining -= taken
    return np.array(order, dtype=np.int64), sizes
