"""What an answer is about: the intent whose known answers it is most like.

A support bot does not name an intent, it answers. So an answer counts as of the intent whose
answers, of those given as examples, it is closest to: by the cosine of TF-IDF vectors of character
n-grams, averaged over the intent's examples (Rocchio's classifier with a mean of unit vectors).
Characters serve English and Chinese alike. How far that can be trusted is measured: the reference
answers are judged in the same way.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import numpy as np

LENGTHS = (2, 3, 4)  # characters in an n-gram
COLUMNS = 1 << 16  # n-grams share columns by a checksum, so that memory does not grow with the text
_SPACE = re.compile(r"\s+")


class IntentClassifier:
    """Tells the intent of an answer.

    Attributes:
        intents: their names, sorted.
    """

    def __init__(self, answers: Sequence[str], intents: Sequence[str]):
        """`intents[i]` is that of `answers[i]`; at least one."""
        self.intents = sorted(set(intents))
        counts = [_counts(answer) for answer in answers]
        found = Counter(column for each in counts for column in each)
        self._weights = np.full(COLUMNS, math.log(1 + len(answers)) + 1, np.float32)
        for column, documents in found.items():
            self._weights[column] = math.log((1 + len(answers)) / (1 + documents)) + 1
        self._means = np.zeros((len(self.intents), COLUMNS), np.float32)
        row_of = {name: row for row, name in enumerate(self.intents)}
        sizes = Counter(intents)
        for each, name in zip(counts, intents, strict=True):
            columns, values = self._vector(each)
            self._means[row_of[name], columns] += values / sizes[name]

    def intent(self, answer: str) -> str | None:
        """The intent of an answer; None when it has nothing in common with any example."""
        columns, values = self._vector(_counts(answer))
        likeness = self._means[:, columns] @ values
        best = int(likeness.argmax())
        return self.intents[best] if likeness[best] > 0 else None

    def _vector(self, counts: Counter[int]) -> tuple[np.ndarray, np.ndarray]:
        """Columns and values of a unit vector."""
        columns = np.fromiter(counts, np.int64, len(counts))
        times = np.fromiter(counts.values(), np.float32, len(counts))
        values = (1 + np.log(times)) * self._weights[columns]
        return columns, values / max(float(np.linalg.norm(values)), 1e-12)


def _counts(text: str) -> Counter[int]:
    """How often each column's n-grams occur; words begin and end with a space."""
    text = f" {_SPACE.sub(' ', text).strip().lower()} "
    return Counter(
        crc32(text[start : start + length].encode("utf-8", "surrogatepass")) % COLUMNS
        for length in LENGTHS
        for start in range(len(text) - length + 1)
    )
