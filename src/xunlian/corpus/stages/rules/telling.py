"""What a classifier of good and bad text goes by: its most telling words and pairs of words.

A feature is known by its bucket only, so the texts it was trained on are looked through for what
falls into it. Ranked by the weight times the fourth root of the share of documents that have it: a
heavy feature that nearly nobody has tells little.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.classifier import Classifier, features_of, parts, places
from xunlian.corpus.stages.rules.table import Table

SHOWN = 20
_CHARACTERS = 2_000_000  # looked through, of either kind
_LEAST_SHARE = 0.01  # of the documents of a kind
_LEAST = 3  # documents


class Telling(NamedTuple):
    """A word or pair of words (`begins_line`: at the beginning of a line), its weight, and the
    shares of good and of bad documents that have it."""

    text: str
    begins_line: bool
    weight: float
    good: float
    bad: float


def telling(
    classifier: Classifier, good: list[str], bad: list[str]
) -> tuple[list[Telling], list[Telling]]:
    """The features that tell good texts, and those that tell bad ones."""
    samples = [_some(texts) for texts in (good, bad)]
    shares = [_shares(texts, len(classifier.weights)) for texts in samples]
    enough = np.zeros(len(classifier.weights), bool)
    for texts, share in zip(samples, shares, strict=True):
        enough |= share >= max(_LEAST_SHARE, _LEAST / max(1, len(texts)))
    ranks = np.where(enough, classifier.weights * np.maximum(*shares) ** 0.25, 0)
    order = np.argsort(ranks, kind="stable")
    high = [int(i) for i in order[::-1][:SHOWN] if ranks[i] > 0]
    low = [int(i) for i in order[:SHOWN] if ranks[i] < 0]
    names = _names([*samples[0], *samples[1]], {*high, *low})

    def told(bucket: int) -> Telling:
        numbers = classifier.weights[bucket], shares[0][bucket], shares[1][bucket]
        return Telling(*names[bucket], *map(float, numbers))

    return list(map(told, high)), list(map(told, low))


def _some(texts: list[str]) -> list[str]:
    size = sum(map(len, texts))
    every = max(1, -(-size // _CHARACTERS))
    return texts[::every]


def _shares(texts: list[str], size: int) -> NDArray[np.float64]:
    """(size,) the share of the texts that have a feature of each bucket."""
    found = np.zeros(size)
    for part in parts(texts):
        pairs = [documents * size + buckets for buckets, documents in features_of(Table(part))]
        found += np.bincount(np.unique(np.concatenate(pairs)) % size, minlength=size)
    return found / max(1, len(texts))


def _names(texts: list[str], wanted: set[int]) -> dict[int, tuple[str, bool]]:
    """What stands most often in each bucket, and whether at the beginning of a line."""
    seen: dict[int, Counter[tuple[str, bool]]] = {bucket: Counter() for bucket in wanted}
    among = np.array(sorted(wanted), np.int64)
    for part in parts(texts):
        table = Table(part)
        joined = "\n".join(part)
        for kind, ((buckets, _), (starts, ends)) in enumerate(
            zip(features_of(table), places(table), strict=True)
        ):
            for at in np.flatnonzero(np.isin(buckets, among)):
                text = " ".join(joined[starts[at] : ends[at]].split())
                seen[int(buckets[at])][text, kind == 2] += 1
    return {bucket: counts.most_common(1)[0][0] for bucket, counts in seen.items()}
