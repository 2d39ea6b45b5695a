"""A model that learns to rate: answers that it never saw, by a rule that it must find."""

import json
import random

import pytest
from brief import train

import xunlian

pytestmark = pytest.mark.usefixtures("no_measuring")

WORDS = ["red", "blue", "moon", "chair", "soup", "king", "roof", "seven"]


def rated(seed, count):
    """An answer is safe unless it speaks of soup."""
    drawn = random.Random(seed)
    for _ in range(count):
        asked, said = drawn.choice(WORDS), drawn.sample(WORDS, 3)
        yield {
            "messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": " ".join(said)},
            ],
            "ratings": {"safe": int("soup" not in said)},
        }


def test_it_learns_to_rate_what_it_never_saw(tmp_path):
    for name, seed, count in (("train", 1, 300), ("test", 2, 80)):
        rows = (json.dumps(row) + "\n" for row in rated(seed, count))
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    corpus = xunlian.prepare(
        tmp_path / "train.jsonl", chat=True, out=tmp_path / "corpus", val="0", vocab_size=300
    )
    run = train(
        corpus.path, tmp_path / "run", "task=chat", "model.context=64", "model.dropout=0",
        "training.budget=80 steps", "training.batch_tokens=1024", "training.learning_rate=0.02",
    )  # fmt: skip
    found = xunlian.evaluate(run.path, tmp_path / "test.jsonl")
    assert found["scores"]["safe_auc"] > 0.95, found["ratings"]
