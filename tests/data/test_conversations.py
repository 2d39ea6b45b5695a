"""Packed conversations, compared with the conversations they were made of."""

from dataclasses import dataclass

import numpy as np
import pytest

from xunlian.data.conversations import CUT, LEARNED, NO_TARGET, PADDING, ChatRows
from xunlian.errors import InputError

CONTEXT = 40


@dataclass
class Column:
    """Documents in memory."""

    documents: list

    @property
    def document_count(self):
        return len(self.documents)

    def bounds(self, first, last):
        ends = np.cumsum([0, *map(len, self.documents)])
        return ends[first : last + 1]

    def read(self, start, stop):
        return np.concatenate([np.zeros(0, np.int64), *self.documents])[start:stop].astype(np.int64)


def columns(*conversations):
    """Of (tokens, marks)."""
    return tuple(Column([np.array(c[i]) for c in conversations]) for i in (0, 1))


def conversation(number, turns, length=3, system=2):
    """Tokens number*1000 + 0, 1, ...; `turns` times a question and an answer, each so long."""
    marks = [0] * system
    for _ in range(turns):
        marks += [CUT] + [0] * (length - 1) + [LEARNED] * length + [0]
    return [number * 1000 + i for i in range(len(marks))], marks


def read_back(rows, first, count):
    """The (inputs, targets) of every conversation in these rows, checking numbers and positions."""
    found = []
    for inputs, numbers, positions, targets in zip(*rows.read(first, count), strict=True):
        assert (targets[numbers == PADDING] == NO_TARGET).all()
        for number in range(numbers.max() + 1):
            here = np.flatnonzero(numbers == number)
            assert (np.diff(here) == 1).all()
            assert (positions[here] == np.arange(len(here))).all()
            found.append((inputs[here].tolist(), targets[here].tolist()))
    return found


def expected(tokens, marks):
    last = max(i for i, mark in enumerate(marks) if mark & LEARNED)
    targets = [
        token if mark & LEARNED else NO_TARGET
        for token, mark in zip(tokens[1 : last + 1], marks[1 : last + 1], strict=True)
    ]
    return tokens[:last], targets


def test_every_conversation_is_read_once_an_epoch_and_whole():
    made = [conversation(n, 1 + n % 4, 2 + n % 3) for n in range(50)]
    rows = ChatRows(*columns(*made), CONTEXT, seed=3)
    wanted = sorted(expected(*one) for one in made)
    for epoch in range(2):
        found = read_back(rows, epoch * rows.rows_per_epoch, rows.rows_per_epoch)
        assert sorted(found) == wanted
    assert rows.rows_per_epoch < 25 and rows.filled > 0.9


def test_epochs_differ_and_any_part_of_one_is_found_at_once():
    rows = ChatRows(*columns(*(conversation(n, 2) for n in range(40))), CONTEXT, seed=3)
    whole = rows.read(0, 2 * rows.rows_per_epoch)
    assert (whole[0][: rows.rows_per_epoch] != whole[0][rows.rows_per_epoch :]).any()
    for array, part in zip(whole, rows.read(7, 5), strict=True):
        assert (array[7:12] == part).all()


def test_what_is_too_long_loses_its_oldest_turns_and_keeps_its_head():
    tokens, marks = conversation(1, 8, 3)  # 2 + 8 x 7 tokens
    rows = ChatRows(*columns((tokens, marks), conversation(2, 1)), CONTEXT, seed=None)
    assert rows.cut == 1 and rows.left_out == 0
    kept = next(one for one in read_back(rows, 0, rows.rows_per_epoch) if one[0][0] == 1000)
    # The system message, and the last five of eight questions and answers, but for the last token.
    assert kept[0] == [1000, 1001, *range(1000 + 2 + 3 * 7, 1000 + 2 + 8 * 7 - 2)]


def test_an_answer_longer_than_the_context_is_left_out_and_counted():
    long = conversation(1, 1, length=CONTEXT)
    rows = ChatRows(*columns(long, conversation(2, 1)), CONTEXT, seed=None)
    assert (rows.left_out, rows.conversations) == (1, 1)
    with pytest.raises(InputError, match=r"answer is longer than model.context = 40"):
        ChatRows(*columns(long), CONTEXT, seed=None)


def test_a_conversation_of_exactly_the_context_fits():
    tokens, marks = conversation(1, 1, length=CONTEXT // 2, system=1)
    rows = ChatRows(*columns((tokens, marks)), CONTEXT, seed=None)
    assert rows.left_out == rows.cut == 0
    assert len(read_back(rows, 0, 1)[0][0]) == CONTEXT
