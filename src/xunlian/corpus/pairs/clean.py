"""Which pairs are worth learning from. Every pair that is dropped is counted by its reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from xunlian.corpus.clean import clean, count_han
from xunlian.corpus.pairs.read import Pair
from xunlian.corpus.reading.languages import is_wrong_language
from xunlian.corpus.reading.tmx import Languages

REASONS = (
    "empty_source",
    "empty_target",
    "identical",
    "length_ratio",
    "wrong_language",
    "duplicates",
)

# A Chinese character says about as much as three letters (measured: Python's documentation has 3.5
# English characters for each Chinese one, Tatoeba 3.6). With that, 99% of the pairs of English with
# Chinese, German, French and Czech stay below a ratio of 1.7, of classical with modern Chinese
# below 2.8; what is above 3 is misaligned or cut.
_LETTERS_PER_HAN = 3
_SHORT = 10  # characters added to both sides, so that "Run." may be "你用跑的。"


def clean_pair(pair: Pair, changes: Counter[str]) -> Pair:
    """Both sides cleaned as text is, without the space around them."""
    return clean(pair[0], changes).strip(), clean(pair[1], changes).strip()


def empty_side(pair: Pair) -> str | None:
    """'empty_source' or 'empty_target' when that side is."""
    return "empty_source" if not pair[0] else "empty_target" if not pair[1] else None


@dataclass
class PairFilter:
    """The rules of one corpus, and which pairs were there before.

    Attributes:
        max_length_ratio: 0 for no limit.
    """

    max_length_ratio: float
    languages: Languages
    seen: "Seen" = field(default_factory=lambda: Seen())

    def hold_out(self, batch: Sequence[Pair]) -> None:
        """What is validated on, and so is not trained on."""
        self.seen.add(np.array([_hash(pair) for pair in batch], dtype=np.uint64))

    def reasons(self, batch: Sequence[Pair]) -> list[str | None]:
        """Why each pair of a batch is to be dropped, None where it stays."""
        reasons = [self._by_itself(pair) for pair in batch]
        rest = [i for i, reason in enumerate(reasons) if reason is None]
        repeated = self.seen.add(np.array([_hash(batch[i]) for i in rest], dtype=np.uint64))
        for i in np.flatnonzero(repeated):
            reasons[rest[i]] = "duplicates"
        return reasons

    def _by_itself(self, pair: Pair) -> str | None:
        if empty := empty_side(pair):
            return empty
        if pair[0] == pair[1]:
            return "identical"
        if self.max_length_ratio and length_ratio(pair) > self.max_length_ratio:
            return "length_ratio"
        if any(map(is_wrong_language, pair, self.languages)):
            return "wrong_language"
        return None


def length_ratio(pair: Pair) -> float:
    """How many times as long the longer side is, at least 1."""
    short, long = sorted(
        len(text) + (_LETTERS_PER_HAN - 1) * count_han(text) + _SHORT for text in pair
    )
    return long / short


def _hash(pair: Pair) -> int:
    text = f"{pair[0]}\0{pair[1]}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


class Seen:
    """A set of 64-bit hashes, in sorted runs that double in size.

    Memory: 8 bytes a pair, and as much again while two runs are merged: 1.6 GB at most for 100
    million pairs. Two different pairs are taken for equal with a probability of n²/2^65 for n
    pairs: 0.0003 that it happens once among 100 million.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """bool [n]: whether each of the hashes [n] was there before, in this batch too."""
        new = np.zeros(len(hashes), dtype=bool)
        distinct, first = np.unique(hashes, return_index=True)
        known = np.zeros(len(distinct), dtype=bool)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            known |= run[place] == distinct
        new[first[~known]] = True
        run = distinct[~known]
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)
        return ~new
