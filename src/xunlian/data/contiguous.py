"""Rows that go on where those of the step before ended, for networks that carry a state.

A step reads one row on each of many *lanes*. The stream, read as a circle, is dealt out to the
lanes in stretches of one length; lane r reads its stretch row after row, and an epoch ends when
all have read theirs. Every epoch begins at another place, so the tokens that are left at a
stretch's end, fewer than a row, are others each time.

    stream   a b c d e f g h i j k l m      2 lanes, rows of 3
    lane 0   a b c | d e f                  step 0: abc, ghi
    lane 1   g h i | j k l                  step 1: def, jkl
"""

import numpy as np

from xunlian.data.order import epoch_offset
from xunlian.data.packed import Stream, check_length, read_circle


class ContiguousRows:
    """Training rows by index: row r is read in step r // lanes, on lane r % lanes.

    Args:
        stream: the training tokens.
        context: tokens of a row.
        lanes: rows of a step.
        seed: decides where epochs begin.

    Raises:
        InputError: the stream is shorter than one row and its targets.
    """

    def __init__(self, stream: Stream, context: int, lanes: int, seed: int):
        check_length(stream, context)
        self.stream, self.context, self.lanes, self.seed = stream, context, lanes, seed
        self._steps = max(1, len(stream) // lanes // context)
        self.rows_per_epoch = self._steps * lanes

    @property
    def row_tokens(self) -> float:
        """Tokens of a row: all are real."""
        return self.context

    def largest(self, count: int) -> tuple[int, int, int]:
        """Rows, target places and source places of `count` rows."""
        return count, self.context, 0

    def read(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows first .. first+count-1: inputs (count, context), int64; their lanes (count), int64;
        whether each is the first of its lane's stretch (count), bool; targets as inputs.
        """
        steps, lanes = np.divmod(np.arange(first, first + count), self.lanes)
        epochs, places = np.divmod(steps, self._steps)
        starts = lanes * len(self.stream) // self.lanes + places * self.context
        rows = np.stack(
            [
                read_circle(
                    self.stream,
                    int(start) + epoch_offset(len(self.stream), self.seed, int(epoch)),
                    self.context + 1,
                )
                for start, epoch in zip(starts, epochs, strict=True)
            ]
        )
        return rows[:, :-1], lanes, places == 0, rows[:, 1:]
