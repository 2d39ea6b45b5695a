"""The two columns of a corpus of pairs, in memory."""

import numpy as np

START, END = 1, 0


class Column:
    """Documents one after the other, as a TokenStream gives them."""

    def __init__(self, documents):
        self.document_count = len(documents)
        self.tokens = np.concatenate(documents)
        self.offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])

    def bounds(self, first, last):
        return self.offsets[first : last + 1]

    def read(self, start, stop):
        return self.tokens[start:stop]


def made(count, longest, seed=0):
    """Sources and targets whose tokens tell which pair they are of."""
    rng = np.random.default_rng(seed)

    def side():
        return [
            np.append(np.full(rng.integers(1, longest), 2 + pair), END) for pair in range(count)
        ]

    return side(), side()
