"""Pairs of like lengths together, padded to the longest of a batch: for recurrent networks.

A recurrent network reads one pair a row from its beginning, so pairs cannot share a row as they do
in pairs.py. Here they are sorted by the lengths of both sides and cut into batches of about so
many target tokens; every epoch takes the batches in another order, and pairs of equal lengths
change places. Batches differ in their shape.

To processes and micro-batches a batch is `shares` rows, each of several pairs, so arrays are
(rows, pairs, length). Shares that have a pair less than others are filled up with an empty one.
"""

import numpy as np

from xunlian.data.order import permute
from xunlian.data.pairs import NO_TARGET, SOURCE_PADDING, Columns, Documents


class SortedPairs:
    """Training rows by index: row r is a share of batch r // shares.

    Args:
        source, target: the two columns; document i of one belongs to document i of the other.
        context: the longest source or target; longer pairs are left out.
        shares: rows of a batch, of `context` target tokens each on average.
        start_id: the token that a target starts from, and that pads.
        seed: decides the order; None: by length, the same in every epoch.

    Raises:
        InputError: no pair fits.
    """

    def __init__(
        self,
        source: Documents,
        target: Documents,
        context: int,
        shares: int,
        start_id: int,
        seed: int | None,
    ):
        self._columns = Columns(source, target)
        lengths_N2 = self._columns.lengths_N2
        self._pairs = np.flatnonzero(lengths_N2.max(axis=1, initial=0) <= context)
        self.context, self.shares, self.start_id, self.seed = context, shares, start_id, seed
        self.pairs, self.left_out = len(self._pairs), self._columns.count - len(self._pairs)
        if not self.pairs:
            raise self._columns.nothing_fits(context)
        self._lengths_N2 = lengths_N2[self._pairs]
        self.source_tokens, self.target_tokens = (int(n) for n in self._lengths_N2.sum(axis=0))
        targets = np.sort(self._lengths_N2[:, 1])
        self._begins = _cuts(targets, context * shares)
        self.rows_per_epoch = (len(self._begins) - 1) * shares
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def row_tokens(self) -> float:
        """Real tokens of a row on both sides, on average."""
        return (self.source_tokens + self.target_tokens) / self.rows_per_epoch

    def largest(self, count: int) -> tuple[int, int, int]:
        """Pairs in `count` rows of the batch that has most places, and its target and source
        places."""
        lengths_N2 = self._lengths_N2[self._sorted(0)]
        longest_N2 = np.maximum.reduceat(lengths_N2, self._begins[:-1])
        pairs_N = -(-np.diff(self._begins) // self.shares)
        most = int((pairs_N * longest_N2.sum(axis=1)).argmax())
        source, target = longest_N2[most]
        return int(pairs_N[most]) * count, int(target), int(source)

    def read(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows first .. first+count-1, int64: source (rows, pairs, S), its mark (0, or
        SOURCE_PADDING), target inputs (rows, pairs, T) and targets (NO_TARGET where there is none).

        The rows must be of one batch.
        """
        batch, share = divmod(first, self.shares)
        assert share + count <= self.shares
        pairs = self._batch(batch)
        size = -(-len(pairs) // self.shares)
        pairs = pairs[share * size : (share + count) * size]
        lengths_N2 = self._lengths_N2[pairs]
        longest = lengths_N2.max(axis=0, initial=1)
        source = np.full((count * size, longest[0]), self.start_id)
        marks = np.full_like(source, SOURCE_PADDING)
        inputs = np.full((count * size, longest[1]), self.start_id)
        targets = np.full_like(inputs, NO_TARGET)
        marks[:, 0] = 0  # an empty pair, too, has something to look at
        for i, (pair, (read, written)) in enumerate(zip(pairs, lengths_N2, strict=True)):
            tokens, answer = self._columns.read(self._pairs[pair])
            source[i, :read], marks[i, :read] = tokens, 0
            inputs[i, 1:written], targets[i, :written] = answer[:-1], answer
        return tuple(a.reshape(count, size, -1) for a in (source, marks, inputs, targets))

    def _batch(self, number: int) -> np.ndarray:
        """The pairs of a batch, as places in `self._pairs`."""
        batches = len(self._begins) - 1
        epoch, place = divmod(number, batches)
        if self.seed is not None:
            place = int(permute(np.array([place]), batches, self.seed, epoch)[0])
        order = self._sorted(epoch if self.seed is not None else 0)
        return order[self._begins[place] : self._begins[place + 1]]

    def _sorted(self, epoch: int) -> np.ndarray:
        """All pairs by target length, then by source length, then by chance."""
        if self._order is None or self._order[0] != epoch:
            chance = np.random.default_rng((self.seed or 0, epoch, 2)).random(self.pairs)
            keys = (chance, self._lengths_N2[:, 0], self._lengths_N2[:, 1])
            self._order = epoch, np.lexsort(keys)
        return self._order[1]


def _cuts(lengths_N: np.ndarray, tokens: int) -> np.ndarray:
    """Where batches of about so many tokens begin, and where the last ends."""
    ends = np.cumsum(lengths_N)
    batches = max(1, round(int(ends[-1]) / tokens))
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, batches) / batches)
    return np.unique(np.concatenate([[0], inner, [len(lengths_N)]]))
