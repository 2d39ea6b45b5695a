"""The tables of the model cards, from recorded rows."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("records", "card_tables", "recipes"):
        sys.modules.pop(name, None)


def row(stage: str, measure: str, settings=(), **more) -> dict:
    return {
        "recipe": "tutor-math", "stage": stage, "measure": measure, "settings": list(settings),
        "parameters": 14e6, "tokens": 2.5e6, "seconds": 300.0, "threads": 2, "machine": "a CPU",
        "date": "2026-01-01", **more,
    }  # fmt: skip


def test_newest_full_rows_fill_their_place_and_nothing_else(tmp_path, monkeypatch):
    import card_tables
    import records

    rows = [
        row("before", "perplexity", scores={"perplexity": 90.04, "bits_per_byte": 2.5}),
        row("after", "perplexity", scores={"perplexity": 9.0, "bits_per_byte": 1.25}),
        row("after", "perplexity", scores={"perplexity": 8.04, "bits_per_byte": 1.2345}),
        row("after", "perplexity", ["training.budget=1s"], scores={"perplexity": 70.0}),
        row("after", "math", scores={"accuracy": 0.02}, intervals={"accuracy": [0.01, 0.055]}),
        row("after", "samples", samples=[["1+1?", " 2\n"]]),
    ]
    (tmp_path / "cards.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    places = [f"<!-- measured: {name} -->\n{was}\n<!-- end -->\n"
              for name, was in (("tutor-math", "old"), ("x", "kept"))]  # fmt: skip
    page = "# A\n\n" + "\n".join(places)
    for name in ("models.md", "models.zh.md"):
        (tmp_path / name).write_text(page)
    monkeypatch.setattr(card_tables, "recorded", lambda name: records.recorded(name, tmp_path))
    card_tables.write_tables("cards", tmp_path)
    text = (tmp_path / "models.md").read_text("utf-8")
    assert "| bits per byte of held-out text | 2.500 | 1.234 |" in text
    assert "| perplexity of it, per token | 90.0 | 8.0 |" in text
    assert "| right results | - | 2.0% (1.0% to 5.5%) |" in text
    assert "14.0M parameters, 2.5M tokens in 5 minutes; a CPU; 2026-01-01." in text
    assert "> 1+1?\n2\n```" in text
    assert "old" not in text and "<!-- measured: x -->\nkept\n<!-- end -->" in text
    assert "微调前" in (tmp_path / "models.zh.md").read_text("utf-8")
    card_tables.write_tables("cards", tmp_path)
    assert (tmp_path / "models.md").read_text("utf-8") == text


def test_a_base_has_nothing_before():
    import card_tables

    newest = {("after", "perplexity"): row("after", "perplexity", scores={"perplexity": 9.0})}
    assert card_tables.table(newest, "en")[:3] == [
        "| |  |",
        "|---|---|",
        "| perplexity of it, per token | 9.0 |",
    ]


def test_every_card_has_a_place_for_every_recipe_in_both_languages():
    import card_tables
    from recipes import BASES, TASKS

    wanted = {*BASES, *TASKS}
    for file in ("models.md", "models.zh.md"):
        places = card_tables._PLACE.findall((card_tables.DOCS / file).read_text("utf-8"))
        assert {place[1] for place in places} == wanted and len(places) == len(wanted)
