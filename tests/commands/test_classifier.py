"""A classifier is trained from files by one command, measured, and used by prepare."""

import json
import random
from pathlib import Path

import pytest

import xunlian
from xunlian.cli import main
from xunlian.corpus.examples import Spread
from xunlian.corpus.stages.rules.classifier import load_classifier, train_classifier
from xunlian.corpus.train_quality import THRESHOLDS, train_quality
from xunlian.errors import InputError

LINKS = {
    "en": "Home|About us|Contact|Log in|Sign up|Next page|Share this|Read more|Newsletter",
    "zh": "首页|关于我们|联系我们|登录|注册|下一页|分享到|版权所有|查看更多|友情链接|加入收藏",
}
WORDS = {
    "en": "the river runs through an old town where people have lived from trade and fishing",
    "zh": "这条河流过一座古老的小城人们世代靠着贸易和打鱼生活在两岸的山坡上种茶养蚕",
}


def documents(kind: str, language: str, seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        if kind == "bad":
            links = source.choices(LINKS[language].split("|"), k=30)
            texts.append("\n".join(f"{link} {source.randrange(99)}" for link in links))
            continue
        words = WORDS[language].split() if language == "en" else list(WORDS[language])
        gap, stop = (" ", ". ") if language == "en" else ("", "。")
        sentences = (gap.join(source.choices(words, k=12)) for _ in range(6))
        texts.append(stop.join(sentences) + stop.strip())
    return texts


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, kind in enumerate(("good", "bad")):
        Path(f"{kind}.txt").write_text(
            "\n\n".join(documents(kind, "en", seed, 100)).replace("\n\n\n", "\n\n"), "utf-8"
        )
        rows = documents(kind, "zh", seed + 10, 100)
        Path(f"{kind}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in rows), "utf-8"
        )
    return tmp_path


COMMAND = "classifier --good good.txt good.jsonl --bad bad.txt bad.jsonl --out q.safetensors"


def test_one_command_trains_measures_and_explains(files: Path, capsys) -> None:
    assert main([*COMMAND.split(), "corpus.documents=paragraph", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == {"good": 200, "bad": 200}
    assert found["held_out"] == {"good": 40, "bad": 40}
    assert found["accuracy"] >= 0.95 and found["auc"] >= 0.99
    assert [row["threshold"] for row in found["thresholds"]] == list(THRESHOLDS)
    bad = [row["text"] for row in found["telling"]["bad"]]
    assert {"Home", "首", "页"} & set(bad) and any(
        row["begins_line"] for row in found["telling"]["bad"]
    )
    assert all(row["weight"] < 0 < row["bad"] for row in found["telling"]["bad"])
    classifier = load_classifier("q.safetensors")
    for language in ("en", "zh"):
        assert (classifier.score(documents("good", language, 77, 20)) > 0.5).all()
        assert (classifier.score(documents("bad", language, 78, 20)) < 0.5).all()


def test_prepare_uses_it_and_notices_another_of_the_same_name(files: Path, capsys) -> None:
    assert main([*COMMAND.split(), "corpus.documents=paragraph"]) == 0
    shown = capsys.readouterr()
    assert "accuracy" in shown.out and "threshold" in shown.out and "Telling for bad" in shown.out
    assert "corpus.quality.classifier=q.safetensors" in shown.err
    mixed = documents("good", "en", 5, 12) + documents("bad", "zh", 6, 8)
    Path("mixed.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in mixed), "utf-8")

    def dropped(out: str) -> int:
        corpus = xunlian.prepare(
            "mixed.jsonl",
            out=out,
            tokenizer="byte",
            val=0,
            work="work",
            overrides=["corpus.quality.rules=[]", "corpus.quality.classifier=q.safetensors"],
        )
        return sum(corpus.card["stages"]["quality"]["dropped"].values())

    assert dropped("one") == 8
    xunlian.classifier("bad.txt", "good.txt", "q.safetensors", ["corpus.documents=paragraph"])
    assert dropped("two") == 12  # good is bad now


def test_web_pages_are_learned_from_by_their_text(tmp_path: Path) -> None:
    pytest.importorskip("resiliparse", reason="the extra `web` is not installed")
    from collections import Counter

    from xunlian.corpus.examples import examples
    from xunlian.recipe.settings import Corpus

    text = documents("good", "en", 1, 1)[0]
    (tmp_path / "a.html").write_text(f"<html><body><main><p>{text}</p></main></body></html>")
    assert list(examples([str(tmp_path)], Corpus(), Counter())) == [text]


def test_the_figures_are_of_texts_that_were_not_learned_from() -> None:
    # Labels by chance: what was seen can be told, what was not cannot.
    source = random.Random(3)
    texts = [" ".join(str(source.randrange(400)) for _ in range(60)) for _ in range(600)]
    trained = train_quality(texts[:300], texts[300:])
    assert 0.3 < trained.accuracy < 0.7 and 0.3 < trained.auc < 0.7
    assert trained.held_out == (60, 60)
    seen = train_classifier(texts[:300], texts[300:]).score(texts)
    assert (seen[:300] > 0.5).mean() > 0.9


def test_a_repeated_text_is_not_measured_by() -> None:
    good, bad = documents("good", "en", 1, 31), documents("bad", "en", 2, 100)
    trained = train_quality([*good[:21] * 5, *good[21:]], bad)  # of these, each fifth stands once
    assert trained.documents == (115, 100) and trained.held_out == (2, 20)
    with pytest.raises(InputError, match="no good example to measure by"):
        train_quality(good[:21] * 5, bad)


def test_thresholds_trade_what_is_kept_for_what_is_dropped() -> None:
    trained = train_quality(documents("good", "zh", 1, 100), documents("bad", "zh", 2, 100))
    recalls = [row.recall for row in trained.thresholds]
    assert recalls == sorted(recalls, reverse=True)
    assert [row.dropped for row in trained.thresholds] == sorted(
        row.dropped for row in trained.thresholds
    )


def test_a_choice_of_a_stream_is_even_and_bounded() -> None:
    spread = Spread(1000)
    for number in range(10_000):
        spread.add(f"{number:010}")
    assert sum(map(len, spread.texts)) <= 1000
    steps = {int(b) - int(a) for a, b in zip(spread.texts, spread.texts[1:], strict=False)}
    assert steps == {128} and spread.texts[0] == "0" * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--good good.txt --bad none.txt --out q", "No file or folder 'none.txt'"),
        ("--good good.txt --bad good.txt --out q", "both good and bad"),
        ("--good good.txt --bad few.txt --out q", "bad examples"),
        ("--good good.txt --bad bad.txt --out no/q", "in a folder that exists"),
        ("--good good.txt --bad bad.txt --out q corpus.clena=true", "corpus.clean"),
        ("--good good.txt --bad bad.txt --out q training.seed=1", "takes keys of"),
        ("more.txt --good good.txt --bad bad.txt --out q", "good texts or bad ones"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(
    arguments: str, message: str, files: Path, capsys
) -> None:
    Path("few.txt").write_text("one\n\ntwo", "utf-8")
    before = sorted(files.iterdir())
    status = main(["classifier", *arguments.split(), "corpus.documents=paragraph"])
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1
    assert sorted(files.iterdir()) == before


def test_the_words_that_tell_are_read_back_from_the_texts() -> None:
    good = [f"the town {i} lies on the river" for i in range(50)]
    bad = [f"Cookie settings {i}\nAccept all" for i in range(50)]
    trained = train_quality(good, bad)
    assert {"the", "river", "on the"} <= {one.text for one in trained.good}
    told = {(one.text, one.begins_line): one for one in trained.bad}
    assert {("Cookie", True), ("Cookie", False), ("Accept all", False)} <= told.keys()
    assert told["Cookie", True].bad == 1.0 and told["Cookie", True].good == 0.0
    with pytest.raises(InputError, match="good examples"):
        train_quality(good[:5], bad)
