"""Packed preferences, compared with the two conversations that each was made of."""

import numpy as np
import pytest
from test_conversations import Column

from xunlian.data.conversations import CUT, LEARNED, NO_TARGET, PADDING
from xunlian.data.preferences import PreferenceRows
from xunlian.errors import InputError

CONTEXT = 40


def preference(number, turns, chosen, rejected, system=2, length=3):
    """(tokens, marks) of both sides: a prompt of `turns` questions with answers between them, then
    answers of so many tokens, and one that is not learned."""
    marks = [0] * system
    for turn in range(turns):
        marks += [CUT] + [0] * (length - 1) + [0] * (length if turn < turns - 1 else 0)
    prompt = [number * 1000 + i for i in range(len(marks))]
    return [
        (
            prompt + [number * 1000 + 500 + 100 * side + i for i in range(answer + 1)],
            marks + [LEARNED] * answer + [0],
        )
        for side, answer in enumerate((chosen, rejected))
    ]


def rows_of(made, seed, context=CONTEXT):
    tokens, marks = (
        [Column([np.array(one[side][part]) for one in made]) for side in range(2)]
        for part in range(2)
    )
    return PreferenceRows(tokens, marks, context, seed)


def read_back(rows, first, count):
    """preference -> the (inputs, targets) of its sides, checking numbers and positions."""
    found = {}
    for inputs, numbers, positions, targets, _, which in zip(*rows.read(first, count), strict=True):
        assert (targets[numbers == PADDING] == NO_TARGET).all()
        for number, preference in enumerate(which[which != NO_TARGET]):
            sides = []
            for line in range(2):
                here = np.flatnonzero(numbers[line] == number)
                assert (np.diff(here) == 1).all()
                assert (positions[line, here] == np.arange(len(here))).all()
                sides.append((inputs[line, here].tolist(), targets[line, here].tolist()))
            assert int(preference) not in found
            found[int(preference)] = sides
    return found


def expected(tokens, marks):
    tokens, marks = tokens[:-1], marks[:-1]  # nothing is learned after the answer
    learned = [t if m & LEARNED else NO_TARGET for t, m in zip(tokens, marks, strict=True)]
    return tokens[:-1], learned[1:]


def test_every_preference_is_read_once_an_epoch_with_both_sides_in_one_row():
    made = [preference(n, 1 + n % 2, 1 + n % 5, 2 + n % 7) for n in range(50)]
    rows = rows_of(made, seed=3)
    assert rows.preferences == 50 and rows.rows_per_epoch < 25
    for epoch in range(2):
        found = read_back(rows, epoch * rows.rows_per_epoch, rows.rows_per_epoch)
        assert found == {n: [expected(*side) for side in one] for n, one in enumerate(made)}


def test_epochs_differ_and_any_part_of_one_is_found_at_once():
    rows = rows_of([preference(n, 2, 3, 4) for n in range(40)], seed=3)
    whole = rows.read(0, 2 * rows.rows_per_epoch)
    assert (whole[0][: rows.rows_per_epoch] != whole[0][rows.rows_per_epoch :]).any()
    for array, part in zip(whole, rows.read(7, 5), strict=True):
        assert (array[7:12] == part).all()


def test_what_a_preference_is_compared_with_stands_beside_it():
    rows = rows_of([preference(n, 1, 1 + n % 5, 2) for n in range(30)], seed=3)
    rows.reference_N2 = np.arange(60, dtype=np.float32).reshape(30, 2)
    *_, reference, which = rows.read(0, rows.rows_per_epoch)
    here = which != NO_TARGET
    assert sorted(which[here]) == list(range(30))
    assert (reference.transpose(0, 2, 1)[here] == rows.reference_N2[which[here]]).all()
    assert (reference.transpose(0, 2, 1)[~here] == 0).all()


def test_both_sides_lose_the_same_oldest_turns():
    made = [preference(1, 6, 4, 9), preference(2, 1, 2, 3)]  # 2 + 6 x 3 + 5 x 3 + 9 tokens
    rows = rows_of(made, seed=None)
    assert (rows.cut, rows.left_out) == (1, 0)
    for line, (inputs, _) in enumerate(read_back(rows, 0, rows.rows_per_epoch)[0]):
        answer = [1500 + 100 * line + i for i in range((4, 9)[line] - 1)]
        # The system message, and all from the second question on.
        assert inputs == [1000, 1001, *range(1000 + 2 + 6, 1000 + 35), *answer]


def test_an_answer_longer_than_the_context_is_left_out_and_counted():
    long = preference(1, 1, 2, CONTEXT)
    rows = rows_of([long, preference(2, 1, 2, 2)], seed=None)
    assert (rows.left_out, rows.preferences) == (1, 1)
    with pytest.raises(InputError, match=r"answer is longer than model.context = 40"):
        rows_of([long], seed=None)
