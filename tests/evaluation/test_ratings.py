"""Accuracy and area under the curve of ratings, against counting pairs and rating one by one."""

import json

import numpy as np
import pytest
import torch
from made_judge import make_judge

import xunlian
from xunlian.evaluation.ratings import area_under_curve, score_ratings
from xunlian.runs.load import load_run
from xunlian.tokenizer.chat import load_chat


def counted(given, likely):
    """The share of pairs of a 1 and a 0 in the right order; ties are half right."""
    pairs = [
        1.0 if one > zero else 0.5 if one == zero else 0.0
        for one in likely[given == 1]
        for zero in likely[given == 0]
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("steps", [3, 1000])
def test_the_area_is_the_share_of_pairs_in_the_right_order(steps):
    random = np.random.default_rng(steps)
    given = random.integers(0, 2, 60)
    likely = np.round(random.random(60) + 0.3 * given, 3) // (1 / steps)
    assert area_under_curve(given, likely) == pytest.approx(counted(given, likely), abs=1e-12)


def test_scores_of_known_ratings():
    given, likely = np.array([1, 1, 0, 1]), np.array([0.9, 0.4, 0.2, 0.6])
    scores = score_ratings(given, likely)
    assert scores == {"count": 4, "accuracy": 0.75, "majority": 0.75, "auc": 1.0}
    assert "auc" not in score_ratings(given[:2], likely[:2])


def record(number, ratings=None):
    said = [
        {"role": "user", "content": f"q{number}"},
        {"role": "assistant", "content": "a" * number},
    ]
    return {"messages": said} | ({"ratings": ratings} if ratings else {})


@torch.no_grad()
def likely_one_by_one(folder, records, name):
    model, chat = load_run(folder).model, load_chat(folder)
    token = chat.tokenizer.backend.token_to_id
    found = []
    for each in records:
        (tokens,) = chat.encode([chat.rendered(each["messages"])])
        logits = model.logits(torch.tensor([[*tokens.ids, token(f"<|{name}|>")]]))[0, -1]
        found.append(logits[[token("<|rating_0|>"), token("<|rating_1|>")]].softmax(-1)[1].item())
    return np.array(found)


def test_evaluate_scores_ratings_apart_from_answers(tmp_path):
    folder = make_judge(tmp_path / "judge")
    random = np.random.default_rng(4)
    rated = [record(i, {"safe": int(random.integers(0, 2)), "sensible": 1}) for i in range(2, 20)]
    plain = [record(i) for i in range(20, 26)]

    def scored(name, records):
        path = tmp_path / name
        path.write_text("".join(json.dumps(each) + "\n" for each in records))
        return xunlian.evaluate(folder, path, ["training.precision=fp32", "task=chat"])

    both = scored("both.jsonl", [*rated, *plain])
    likely = likely_one_by_one(folder, rated, "safe")
    given = np.array([each["ratings"]["safe"] for each in rated])
    assert 0 < given.sum() < len(given)
    assert both["scores"]["safe_auc"] == pytest.approx(counted(given, likely), abs=1e-9)
    assert both["scores"]["safe_accuracy"] == ((likely > 0.5) == given).mean()
    assert both["ratings"]["safe"]["count"] == both["ratings"]["sensible"]["count"] == 18
    assert "sensible_auc" not in both["scores"]
    alone = scored("plain.jsonl", plain)
    for name in ("perplexity", "bits_per_byte"):
        assert both["scores"][name] == pytest.approx(alone["scores"][name], rel=1e-5)
    assert both["documents"] == alone["documents"] == 6 and "ratings" not in alone
    only = scored("rated.jsonl", rated)
    assert only["scores"]["safe_auc"] == both["scores"]["safe_auc"]
    assert "perplexity" not in only["scores"]
