"""Foreign data to conversations: what the programs in examples/ make of it."""

import gzip
import json
import subprocess
import sys

import pytest
from conftest import ROOT, SAMPLES, shared_data

EXAMPLES = ROOT / "examples"

QUATRAIN = ["牀前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("chinese_poems", "news_stories"):
        sys.modules.pop(name, None)


def run(program: str, *files) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / program, *files], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_poems_become_wishes_and_poems_in_simplified_characters(tmp_path):
    pytest.importorskip("opencc", reason='needs pip install "xunlian[web]"')
    file = tmp_path / "poet.tang.0.json"
    moon = {"title": "靜夜思", "author": "李白", "paragraphs": QUATRAIN}
    other = {
        "title": "無題",
        "paragraphs": ["明月出天山，蒼茫雲海間。", "明月幾萬里，吹度玉門關。"],
    }
    uneven = {"title": "x", "paragraphs": ["明月出天山，蒼茫雲。"]}
    file.write_text(json.dumps([moon, uneven, moon, other]), "utf-8")
    first, second = run("chinese_poems.py", file)
    assert first == {
        "prompt": "写一首五言绝句，题目：静夜思",
        "completion": "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
    }
    # The pair that is in both poems comes first.
    assert second["prompt"].startswith("写一首五言绝句，关键词：明月、")
    assert second["prompt"][-2:] in second["completion"]


def test_form_of_a_poem():
    pytest.importorskip("opencc", reason='needs pip install "xunlian[web]"')
    from chinese_poems import form_of

    assert form_of(["一二三四五"] * 4) == "五言绝句"
    assert form_of(["一二三四五六七"] * 8) == "七言律诗"
    assert form_of(["一二三四五"] * 6) is None
    assert form_of(["一二三四五", "一二三四五六七"] * 2) is None
    assert form_of(["一二三□五"] * 4) is None


def test_articles_become_headlines_and_the_beginnings_of_stories(tmp_path):
    long = "The council met on Monday. " * 20
    rows = [
        {
            "title": "Council meets",
            "text": f"{long}\n{long}\nSources.\nA list.",
            "url": "https://a",
        },
        {"title": "Empty", "text": "", "url": "https://b"},
        {"title": "Holes", "text": f"He was born in , Indiana. {long}", "url": "https://c"},
    ]
    file = tmp_path / "wiki_00.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    (story,) = run("news_stories.py", file)
    assert story["prompt"] == "Write a news story: Council meets"
    assert story["completion"] == f"{long.strip()}\n{long.strip()}" and story["url"] == "https://a"


def test_the_stories_that_ship_are_what_the_program_makes():
    files = [shared_data(f"lm_en/enwikinews/wiki_{n}.jsonl.gz") for n in range(21, 26)]
    with gzip.open(SAMPLES / "wikinews.en.jsonl.gz", "rt", encoding="utf-8") as sample:
        shipped = [json.loads(line) for line in sample]
    made = {row["url"]: row for row in run("news_stories.py", *files)}
    assert shipped and all(made[row["url"]] == row for row in shipped)
