"""A classifier of good and bad text, trained, and judged by examples that it did not learn from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.examples import Spread
from xunlian.corpus.stages.rules.classifier import Classifier, train_classifier
from xunlian.corpus.stages.rules.telling import Telling, telling
from xunlian.errors import InputError

HELD_OUT = 5  # every so many-th document is
_CHARACTERS = 10_000_000  # of either kind that are learned from
_MEASURED = 4_000_000
_DOCUMENT = 20_000  # characters of a document
THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))


@dataclass(frozen=True)
class AtThreshold:
    """What a threshold does to the examples held out.

    Attributes:
        precision: share of the good among those kept.
        recall: share of the good that are kept.
        dropped: share of the bad that are dropped.
    """

    threshold: float
    precision: float
    recall: float
    dropped: float


@dataclass(frozen=True)
class Trained:
    """A classifier and what is known of it.

    Attributes:
        documents: good and bad ones, how many there are.
        held_out: likewise, how many of them it was measured by. The classifier itself has learned
            from all; the figures are those of another that has not seen these.
        accuracy: of both kinds, at 0.5; the mean of what is right of the good and of the bad.
        auc: the probability that a good one has a higher score than a bad one.
        good, bad: what tells them, the most telling first.
    """

    classifier: Classifier
    documents: tuple[int, int]
    held_out: tuple[int, int]
    accuracy: float
    auc: float
    thresholds: list[AtThreshold]
    good: list[Telling]
    bad: list[Telling]


def train_quality(good: Iterable[str], bad: Iterable[str]) -> Trained:
    """Train on documents of both kinds, in bounded memory.

    Raises:
        InputError: there are fewer than ten examples of a kind, or none to measure by, or most of
            one kind are the same texts as of the other.
    """
    kinds = [_divided(texts) for texts in (good, bad)]
    learned, measured = [kind[0] for kind in kinds], [kind[1] for kind in kinds]
    same = len(set(learned[0]) & set(learned[1]))
    if 2 * same > min(map(len, learned)):
        raise InputError(f"{same:,} texts are both good and bad examples. Give each in one only.")
    for kind, texts in zip(("good", "bad"), measured, strict=True):
        if not texts:
            raise InputError(
                f"There is no {kind} example to measure by: every fifth is held out, and these are "
                "none, or copies of others. Give more."
            )
    first = train_classifier(*learned)
    scores = [np.sort(first.score(texts)) for texts in measured]
    return Trained(
        train_classifier(*(a + b for a, b in zip(learned, measured, strict=True))),
        (kinds[0][2], kinds[1][2]),
        (len(measured[0]), len(measured[1])),
        float(np.mean([np.mean(scores[0] >= 0.5), np.mean(scores[1] < 0.5)])),
        _auc(*scores),
        [_at(threshold, *scores) for threshold in THRESHOLDS],
        *telling(first, *learned),
    )


def _divided(texts: Iterable[str]) -> tuple[list[str], list[str], int]:
    """What is learned from, what is measured by, and how many documents there are; no text is
    twice among the former two."""
    learned, measured = Spread(_CHARACTERS), Spread(_MEASURED)
    count = 0
    for text in texts:
        (learned if count % HELD_OUT else measured).add(text[:_DOCUMENT])
        count += 1
    seen = set(learned.texts)
    return (
        learned.texts,
        [text for text in dict.fromkeys(measured.texts) if text not in seen],
        count,
    )


def _auc(good: NDArray[np.float64], bad: NDArray[np.float64]) -> float:
    """Of sorted scores: Mann and Whitney's statistic, ties count half."""
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.sum() / (2 * max(1, len(good) * len(bad))))


def _at(threshold: float, good: NDArray[np.float64], bad: NDArray[np.float64]) -> AtThreshold:
    kept, wrong = int((good >= threshold).sum()), int((bad >= threshold).sum())
    return AtThreshold(
        threshold,
        kept / max(1, kept + wrong),
        kept / max(1, len(good)),
        1 - wrong / max(1, len(bad)),
    )
