"""The intent of an answer, against TF-IDF done with dictionaries."""

import math
from collections import Counter, defaultdict

import pytest

from xunlian.evaluation.tasks.intents import IntentClassifier

EXAMPLES = [
    ("We open at nine and close at six.", "hours"),
    ("On Sundays we are closed.", "hours"),
    ("Your order was sent on Monday.", "order"),
    ("The order is on its way to you.", "order"),
    ("You can send it back within 30 days for a refund.", "refund"),
    ("我们早上九点开门。", "hours"),
    ("您的订单已经发货。", "order"),
    ("七天内可以退款。", "refund"),
]
ANSWERS = ["We close at five.", "your  ORDER is late", "no refund after 30 days", "九点开门",
           "订单在路上", "可以退款", "Are you closed on Monday?", "it"]  # fmt: skip


def grams(text):
    text = f" {' '.join(text.lower().split())} "
    return Counter(text[i : i + n] for n in (2, 3, 4) for i in range(len(text) - n + 1))


def slow_intent(answer):
    documents = [grams(text) for text, _ in EXAMPLES]
    found = Counter(gram for each in documents for gram in each)

    def unit(counts):
        weights = {
            gram: (1 + math.log(times)) * (1 + math.log((1 + len(documents)) / (1 + found[gram])))
            for gram, times in counts.items()
        }
        length = math.sqrt(sum(weight**2 for weight in weights.values()))
        return {gram: weight / length for gram, weight in weights.items()}

    asked, likeness = unit(grams(answer)), defaultdict(list)
    for counts, (_, intent) in zip(documents, EXAMPLES, strict=True):
        other = unit(counts)
        likeness[intent].append(sum(asked[gram] * other.get(gram, 0) for gram in asked))
    return max(sorted(likeness), key=lambda intent: sum(likeness[intent]) / len(likeness[intent]))


@pytest.fixture(scope="module")
def classifier():
    return IntentClassifier(*zip(*EXAMPLES, strict=True))


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_nearest_intent_is_found(classifier, answer):
    assert classifier.intent(answer) == slow_intent(answer)


def test_what_is_like_nothing_has_no_intent(classifier):
    assert classifier.intent("ξψω") is None
    assert classifier.intent("") is None
