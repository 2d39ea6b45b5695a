"""Conversations packed into rows: several a row, no one sees another's, and only answers count.

A row holds whole conversations side by side, planned as pairs are (data/pairs.py). Where a
conversation ends nothing of it is left: what follows its last learned token is not read. One that
is longer than the context loses its oldest turns, all between the first user's turn (so a system
message stays) and a later user's turn; if its last answer alone is too long, it is left out.

    tokens     s u u a a . u a .     a conversation: system, user, answer, ...
    marks      0 2 0 1 1 1 2 1 1     1: learned, 2: a user's turn begins
    inputs     s u u a a . u a       of a row
    targets    - - a a . - a .       learned where the next token is
"""

from dataclasses import dataclass

import numpy as np

from xunlian.data.order import rows_of_epochs
from xunlian.data.pairs import Documents, plan_rows
from xunlian.errors import InputError

LEARNED, CUT = 1, 2  # as tokenizer/chat.py writes them
NO_TARGET = -1  # as IGNORED in models/losses.py
PADDING = -1
_SOME = 4096  # conversations whose marks are looked at together


@dataclass(frozen=True)
class Fitted:
    """Which parts of the conversations fit the context, for those that do.

    Attributes:
        pieces_N4: (start, stop) of what stays of the head, then of the rest, in the stream; its
            last token is only a target.
        cut: how many lost turns.
        left_out: how many do not fit at all, or have nothing to learn.
    """

    pieces_N4: np.ndarray
    cut: int
    left_out: int

    @property
    def lengths_N(self) -> np.ndarray:
        """Places in a row."""
        first, stop, second, end = self.pieces_N4.T
        return (stop - first) + (end - second) - 1


class ChatRows:
    """Training rows by index: row r belongs to epoch r // rows_per_epoch.

    Args:
        tokens, marks: the two columns of a chat corpus.
        context: tokens of a row.
        seed: decides the order; None: that of the plan, the same in every epoch.

    Attributes:
        targets: tokens that are learned in an epoch.
        cut, left_out: conversations that lost turns, and those that are too long.

    Raises:
        InputError: no conversation fits.
    """

    def __init__(self, tokens: Documents, marks: Documents, context: int, seed: int | None):
        self._tokens, self._marks = tokens, marks
        self.context, self.seed = context, seed
        fitted = fit(marks, context)
        self._pieces_N4, self.cut, self.left_out = fitted.pieces_N4, fitted.cut, fitted.left_out
        lengths = fitted.lengths_N
        if not len(lengths):
            raise InputError(
                f"Every answer is longer than model.context = {context} tokens, together with what "
                "it answers. Set a larger model.context."
            )
        self._plan = plan_rows(np.stack([lengths, lengths], axis=1), context)
        self.conversations, self.tokens = len(lengths), int(lengths.sum())
        self.rows_per_epoch = self._plan.rows

    @property
    def row_tokens(self) -> float:
        """Tokens of a row that are read, on average."""
        return self.tokens / self.rows_per_epoch

    @property
    def filled(self) -> float:
        """The share of token slots that hold a token."""
        return self.row_tokens / self.context

    def largest(self, count: int) -> tuple[int, int, int]:
        """Rows, target places and source places of `count` rows."""
        return count, self.context, 0

    def read(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows first .. first+count-1 as int64 arrays (count, context): inputs, the number of each
        place's conversation in its row (PADDING where there is none), its position there, targets
        (NO_TARGET where nothing is learned).
        """
        shape = count, self.context
        inputs, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        numbers, targets = np.full(shape, PADDING), np.full(shape, NO_TARGET)
        for i, row in enumerate(rows_of_epochs(first, count, self.rows_per_epoch, self.seed)):
            at = 0
            for number, conversation in enumerate(self._conversations(row)):
                tokens, marks = self.conversation(int(conversation))
                end = at + len(tokens) - 1
                inputs[i, at:end] = tokens[:-1]
                numbers[i, at:end] = number
                positions[i, at:end] = np.arange(end - at)
                targets[i, at:end] = np.where(marks[1:] & LEARNED, tokens[1:], NO_TARGET)
                at = end
        return inputs, numbers, positions, targets

    def conversation(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """What is left of a conversation that fits: its tokens and marks."""
        first, stop, second, end = self._pieces_N4[number]
        tokens, marks = (
            np.concatenate([column.read(first, stop), column.read(second, end)])
            for column in (self._tokens, self._marks)
        )
        return tokens, marks

    def _conversations(self, row: int) -> np.ndarray:
        return self._plan.order[self._plan.begins[row] : self._plan.begins[row + 1]]


def fit(marks: Documents, context: int) -> Fitted:
    """What of each conversation fits into `context` places."""
    pieces: list[tuple[int, int, int, int]] = []
    cut = 0
    for first in range(0, marks.document_count, _SOME):
        bounds = marks.bounds(first, min(first + _SOME, marks.document_count))
        start = int(bounds[0])
        read = marks.read(start, int(bounds[-1]))
        for begin, stop in zip((bounds - start)[:-1], (bounds - start)[1:], strict=True):
            learned = np.flatnonzero(read[begin:stop] & LEARNED)
            if not len(learned) or not learned[-1]:
                continue
            end = int(begin + learned[-1] + 1)
            kept = fit_one(read[begin:end], context)
            if kept is None:
                continue
            head, rest = kept
            cut += rest > head
            at = start + int(begin)
            pieces.append((at, at + head, at + rest, start + end))
    found = np.array(pieces, dtype=np.int64).reshape(-1, 4)
    return Fitted(found, cut, marks.document_count - len(found))


def fit_one(marks: np.ndarray, context: int) -> tuple[int, int] | None:
    """What fits of one conversation, whose last token is learned: (end of the head, where the rest
    begins); the same where nothing is cut, None: too long."""
    if len(marks) - 1 <= context:
        return 0, 0
    head, *others = np.flatnonzero(marks & CUT).tolist() or [0]
    for other in others:
        # An answer must follow, or there is nothing to learn.
        if head + len(marks) - other - 1 <= context and (marks[other + 1 :] & LEARNED).any():
            return head, other
    return None
