"""`xunlian chat --rerank`: the best of several answers, or none, and when that is not possible."""

import json

import pytest
from made_judge import make_judge

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.tokenizer.ratings import ATTRIBUTES

OPTIONS = ["--precision", "fp32", "--max-tokens", "8", "--temperature", "1", "--seed", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_judge(tmp_path_factory.mktemp("judge") / "m")


def talk(folder, capsys, *arguments):
    status = main(["chat", str(folder), *OPTIONS, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_best_safe_candidate_is_the_answer_and_is_remembered(folder, capsys):
    status, out, _ = talk(
        folder, capsys, "--rerank", "8", "--message", "a", "--message", "b", "--json"
    )
    found = json.loads(out)
    assert status == 0 and found["settings"]["top_k"] == 40
    said = [m["content"] for m in found["messages"] if m["role"] == "assistant"]
    assert len(said) == len(found["candidates"]) == 2
    for answer, rated in zip(said, found["candidates"], strict=True):
        scores = [3 * c["sensible"] + c["specific"] + c["interesting"] for c in rated]
        assert [c["score"] for c in rated] == pytest.approx(scores)
        assert scores == sorted(scores, reverse=True) and len(rated) > 2
        safe = [c["text"] for c in rated if c["safe"] >= 0.5]
        assert answer == safe[0]
        assert all(set(ATTRIBUTES) <= set(c) for c in rated)
    assert found["messages"][2] == {"role": "user", "content": "b"}


def test_from_python_the_answer_is_the_same(folder, capsys):
    _, out, _ = talk(folder, capsys, "--rerank", "8", "--message", "a")
    settings = {"precision": "fp32", "max_tokens": 8, "temperature": 1, "seed": 3}
    assert xunlian.chat(folder, "a", rerank=8, **settings) + "\n" == out


def test_where_nothing_is_safe_there_is_no_answer_and_it_is_said(folder, capsys):
    status, out, err = talk(
        folder, capsys, "--rerank", "4", "--min-safe", "1", "--message", "a", "--json"
    )
    found = json.loads(out)
    assert status == 0 and found["messages"] == []
    safest = max(c["safe"] for c in found["candidates"][0])
    assert f"(the safest {safest:.2f}, wanted 1)" in err and "No answer" in err
    # The next message begins anew.
    status, out, _ = talk(folder, capsys, "--rerank", "4", "--min-safe", "1", "--message", "a")
    assert out == "\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rerank", "4", "--temperature", "0"], "At temperature 0 all answers are the same"),
        (["--rerank", "-1"], "--rerank -1: write how many"),
        (["--rerank", "4", "--min-safe", "1.5"], "--min-safe 1.5: a probability is from 0 to 1"),
        (["--min-safe", "0.5"], "--min-safe is for --rerank N"),
    ],
)
def test_what_cannot_be_chosen_is_refused(folder, capsys, arguments, words):
    status, out, err = talk(folder, capsys, "--message", "a", *arguments)
    assert status == 2 and out == "" and words in err and err.count("\n") == 1


def test_a_model_without_ratings_is_refused(tmp_path, capsys):
    plain = make_judge(tmp_path / "plain", ())
    status, _, err = talk(plain, capsys, "--rerank", "4", "--message", "a")
    assert status == 2 and "has learned no ratings" in err and err.count("\n") == 1
    with pytest.raises(InputError, match="has learned no ratings"):
        xunlian.chat(plain, "a", rerank=4)
    assert talk(plain, capsys, "--message", "a")[0] == 0
