"""The classifier learns from a few hundred examples what good text is, and says it again alike."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import shared_data

from xunlian.corpus.stages.rules.classifier import load_classifier, train_classifier
from xunlian.errors import InputError

LINKS = {
    "en": "Home|About us|Contact|Log in|Sign up|Next page|Share this|Copyright 2024|Read more|"
    "Cookie settings|Follow us|Add to cart|All rights reserved|Subscribe|Newsletter|Top|Back",
    "zh": "首页|关于我们|联系我们|登录|注册|下一页|上一页|分享到|版权所有|查看更多|客户端下载|"
    "网站地图|加入收藏|返回顶部|热门推荐|广告服务|意见反馈|友情链接|微信公众号",
}


def boilerplate(language: str, seed: int, count: int) -> list[str]:
    """What stands around the text of a page: links, counters, dates."""
    source = random.Random(seed)
    links = LINKS[language].split("|")
    documents = []
    for _ in range(count):
        parts = []
        for _ in range(source.randrange(20, 80)):
            number = source.randrange(2000)
            parts.append(source.choice([*source.choices(links, k=4), f"{number}", f"({number})"]))
            parts.append(source.choice([" ", "\n", " | ", " > "]))
        documents.append("".join(parts))
    return documents


def articles(language: str, file: int, count: int) -> list[str]:
    folder = {"en": "lm_en/enwiki2015", "zh": "lm_zh/zhwiki2023"}[language]
    path = shared_data(f"{folder}/AA_wiki_{file:02d}.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as opened:
        parts = opened.read(1_500_000).split("</doc>")
    texts = [part.split(">\n", 1)[1].strip() for part in parts if ">\n" in part]
    return [text[:1500] for text in texts if len(text) > 200][:count]


def test_it_tells_articles_from_boilerplate_it_has_not_seen() -> None:
    good = articles("en", 0, 150) + articles("zh", 0, 150)
    bad = boilerplate("en", 1, 150) + boilerplate("zh", 1, 150)
    classifier = train_classifier(good, bad)
    for language in ("en", "zh"):
        high = classifier.score(articles(language, 1, 200))
        low = classifier.score(boilerplate(language, 2, 200))
        assert np.mean(high > 0.5) >= 0.95
        assert np.mean(low < 0.5) >= 0.95


def test_the_same_examples_give_the_same_file(tmp_path: Path) -> None:
    good = [f"A whole sentence about the number {i} and what it means." for i in range(30)]
    bad = boilerplate("en", 3, 30)
    for name in ("one", "two"):
        train_classifier(good, bad).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    trained, loaded = train_classifier(good, bad), load_classifier(tmp_path / "one")
    assert loaded.score(good + bad).tolist() == pytest.approx(trained.score(good + bad).tolist())
    assert (loaded.score(good) > 0.5).all()
    assert (loaded.score(bad) < 0.5).all()


def test_a_score_does_not_depend_on_the_batch() -> None:
    good = [f"A whole sentence about the number {i} and what it means." for i in range(30)]
    classifier = train_classifier(good, boilerplate("en", 3, 30))
    texts = ["", "one", "...", *good, *boilerplate("zh", 4, 5)]
    together = classifier.score(texts).tolist()
    assert together == pytest.approx([classifier.score([text])[0] for text in texts], abs=1e-12)
    assert classifier.score([]).tolist() == []


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 bad examples"):
        train_classifier(["good text"] * 20, ["bad"] * 3)
    with pytest.raises(InputError, match="is missing"):
        load_classifier(tmp_path / "none")
    broken = tmp_path / "broken"
    broken.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="broken"):
        load_classifier(broken)
