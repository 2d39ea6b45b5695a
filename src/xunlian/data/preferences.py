"""Preferences packed into rows: a row has a line for the better answers, one for the worse.

Each preference is two conversations (data/conversations.py) that begin alike. Both stand in the
same row under the same number, the chosen one on its first line and the rejected one on its second,
so that their probabilities meet in one pass. Rows are planned as those of pairs are
(data/pairs.py). If the longer of the two is longer than the context, both lose the same oldest
turns of their prompt; if its answer alone is too long, the preference is left out.

Shapes: R rows, L the context, P the most preferences of a row, N preferences in all.
"""

from collections.abc import Sequence

import numpy as np

from xunlian.data.conversations import LEARNED, NO_TARGET, PADDING, fit_one
from xunlian.data.order import rows_of_epochs
from xunlian.data.pairs import Documents, plan_rows
from xunlian.errors import InputError

_SOME = 4096  # preferences whose marks are looked at together


class PreferenceRows:
    """Training rows by index: row r belongs to epoch r // rows_per_epoch.

    Args:
        tokens, marks: of the chosen and of the rejected conversations, as a corpus has them.
        context: tokens of a line.
        seed: decides the order; None: that of the plan, the same in every epoch.

    Attributes:
        preferences: how many fit.
        reference_N2: log-probabilities of both answers to compare with; zeros at first.
        cut, left_out: preferences that lost turns, and those that are too long.

    Raises:
        InputError: no preference fits.
    """

    def __init__(
        self,
        tokens: Sequence[Documents],
        marks: Sequence[Documents],
        context: int,
        seed: int | None,
    ):
        self._tokens, self._marks = tokens, marks
        self.context, self.seed = context, seed
        self._pieces_N24, self.cut = _fit(marks, context)
        self.preferences = len(self._pieces_N24)
        self.left_out = marks[0].document_count - self.preferences
        if not self.preferences:
            raise InputError(
                f"Every answer is longer than model.context = {context} tokens, together with its "
                "prompt. Set a larger model.context."
            )
        first, stop, second, end = np.moveaxis(self._pieces_N24, 2, 0)
        lengths_N2 = (stop - first) + (end - second) - 1
        self._plan = plan_rows(lengths_N2, context)
        self.tokens, self.rows_per_epoch = int(lengths_N2.sum()), self._plan.rows
        self._most = int(np.diff(self._plan.begins).max())
        self.reference_N2 = np.zeros((self.preferences, 2), np.float32)

    @property
    def row_tokens(self) -> float:
        """Tokens of both lines of a row that are read, on average."""
        return self.tokens / self.rows_per_epoch

    @property
    def filled(self) -> float:
        """The share of token slots that hold a token."""
        return self.row_tokens / (2 * self.context)

    def largest(self, count: int) -> tuple[int, int, int]:
        """Rows of the network, target places and source places of `count` rows."""
        return 2 * count, self.context, 0

    def read(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows first .. first+count-1: inputs, the number of each place's preference in its row
        (PADDING where there is none), its position there, targets (NO_TARGET where nothing is
        learned), all int64 (R, 2, L); float32 reference (R, 2, P); and int64 (R, P) which
        preferences these are, NO_TARGET where there is none.
        """
        shape = count, 2, self.context
        inputs, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        numbers, targets = np.full(shape, PADDING), np.full(shape, NO_TARGET)
        reference = np.zeros((count, 2, self._most), np.float32)
        which = np.full((count, self._most), NO_TARGET)
        for i, row in enumerate(rows_of_epochs(first, count, self.rows_per_epoch, self.seed)):
            here = self._plan.order[self._plan.begins[row] : self._plan.begins[row + 1]]
            which[i, : len(here)] = here
            reference[i, :, : len(here)] = self.reference_N2[here].T
            for line in range(2):
                at = 0
                for number, preference in enumerate(here):
                    tokens, marks = self._conversation(int(preference), line)
                    end = at + len(tokens) - 1
                    inputs[i, line, at:end] = tokens[:-1]
                    numbers[i, line, at:end] = number
                    positions[i, line, at:end] = np.arange(end - at)
                    targets[i, line, at:end] = np.where(marks[1:] & LEARNED, tokens[1:], NO_TARGET)
                    at = end
        return inputs, numbers, positions, targets, reference, which

    def _conversation(self, preference: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """What is left of a side: its tokens and marks."""
        first, stop, second, end = self._pieces_N24[preference, side]
        tokens, marks = (
            np.concatenate([column.read(first, stop), column.read(second, end)])
            for column in (self._tokens[side], self._marks[side])
        )
        return tokens, marks


def _fit(marks: Sequence[Documents], context: int) -> tuple[np.ndarray, int]:
    """((start, stop) of what stays of the head, then of the rest, of both sides of each preference
    that fits, (N, 2, 4); how many lost turns)."""
    pieces: list[list[tuple[int, int, int, int]]] = []
    cut = 0
    for first in range(0, marks[0].document_count, _SOME):
        last = min(first + _SOME, marks[0].document_count)
        bounds = [column.bounds(first, last) for column in marks]
        read = [
            column.read(int(edges[0]), int(edges[-1]))
            for column, edges in zip(marks, bounds, strict=True)
        ]
        for i in range(last - first):
            sides = []
            for edges, column in zip(bounds, read, strict=True):
                begin, stop = int(edges[i] - edges[0]), int(edges[i + 1] - edges[0])
                learned = np.flatnonzero(column[begin:stop] & LEARNED)
                sides.append(column[begin : begin + learned[-1] + 1])
            # Cuts lie in the prompt, which both begin with.
            kept = fit_one(max(sides, key=len), context)
            if kept is None:
                continue
            head, rest = kept
            cut += rest > head
            starts = [int(edges[i]) for edges in bounds]
            pieces.append(
                [
                    (start, start + head, start + rest, start + len(side))
                    for start, side in zip(starts, sides, strict=True)
                ]
            )
    return np.array(pieces, dtype=np.int64).reshape(-1, 2, 4), cut
