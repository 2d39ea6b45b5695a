"""The table of plans, from plans and runs."""

import sys
from pathlib import Path

import pytest

from xunlian.recipe.load import load_recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def planning(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import planning

    yield planning
    for name in ("planning", "records"):
        sys.modules.pop(name, None)


def test_what_is_off_by_more_than_15_percent_is_marked(planning):
    plan = {"seconds": 60.0, "memory": {"weights": 10e6, "rest": 90e6}, "steps": 9, "compile": True}
    facts = {"seconds": 50.0, "memory_measured": 98e6, "memory_predicted": {"all": 70e6}}
    row = planning.row_of("demo-en", plan, facts)
    assert row["seconds_ratio"] == 1.2 and row["memory_ratio"] == pytest.approx(100 / 98)
    assert row["memory_arithmetic"] == 70e6
    assert "| demo-en | 60 s (!) | 50 s | 100 MB | 98 MB |" in planning.table([row])


def test_every_recipe_can_be_read_and_has_a_budget_in_steps(planning, tmp_path):
    assert len(planning.RECIPES) >= 6
    for recipe, *settings in planning.RECIPES.values():
        loaded = load_recipe(planning.recipe_file(recipe, tmp_path), settings)
        assert loaded.training.budget.endswith("steps")
