"""A run folder: made once, opened again as it was, held by one process, told when it is none."""

import os
import signal
import subprocess
import sys

import orjson
import pytest

from xunlian.errors import InputError, XunlianError
from xunlian.recipe import Recipe
from xunlian.runs.folder import (
    create_run,
    latest_run_path,
    lock_run,
    next_run_path,
    open_run,
    write_recipe,
)

RECIPE = Recipe.model_validate(
    {
        "about": 'Tales "of old", 很久以前\\',
        "prompts": ("Once\nupon", "从前"),
        "corpus": {"path": "corpora/tales"},
        "model": {"depth": 2, "width": 64, "dropout": 0.1},
        "training": {"budget": "20 steps", "betas": (0.8, 0.99), "final_rate": 0.05},
        "decoding": {"stop": ("\n\n", "\t"), "temperature": 0.0, "seed": 7},
    }
)

# Holds the lock of the folder named until its standard input ends.
HOLDER = """
import sys
from pathlib import Path
from xunlian.runs.folder import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "tales-1", RECIPE)


@pytest.fixture
def holder(run):
    """Another process that holds the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_created_run_opens_with_the_same_recipe(run):
    again = open_run(run.path)
    assert again == run and again.recipe == RECIPE
    assert open_run(str(run.path)) == run
    assert [path.name for path in run.path.iterdir()] == ["recipe.toml"]


def test_a_recipe_can_be_written_anew(run):
    training = RECIPE.training.model_copy(update={"budget": "5min"})
    changed = RECIPE.model_copy(update={"training": training})
    write_recipe(type(run)(run.path, changed))
    assert open_run(run.path).recipe == changed != RECIPE


def test_a_new_run_knows_no_facts_and_no_metrics(run):
    assert run.facts() == {} and run.metrics() == []


def test_facts_come_back_as_they_were_written(run):
    facts = {"parameters": 50_123, "step_seconds": 0.1, "notes": ["很"], "finished": False}
    run.write_facts(facts)
    assert open_run(run.path).facts() == facts
    run.write_facts({"finished": True})
    assert run.facts() == {"finished": True}


@pytest.mark.parametrize("damage", ['{"step": 1', "[]"])
def test_damaged_facts_are_told_by_name(run, damage):
    (run.path / "run.json").write_text(damage)
    with pytest.raises(InputError, match=r"run\.json' is damaged"):
        run.facts()


ROWS = [{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.25}, {"step": 2, "val_loss": 3.0}]


def test_metrics_are_read_line_by_line(run):
    run.metrics_file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in [*ROWS, None, 5]))
    assert run.metrics() == ROWS


def test_a_last_line_cut_by_a_kill_is_left_out_wherever_it_was_cut(run):
    whole = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
    two = b"".join(orjson.dumps(row) + b"\n" for row in ROWS[:2])
    for kept in range(len(two), len(whole)):
        run.metrics_file.write_bytes(whole[:kept])
        complete = whole[:kept].rstrip(b"\n").endswith(b"}") and kept > len(two)
        assert run.metrics() == ROWS[: 3 if complete else 2], whole[:kept]


def test_a_run_is_not_made_over_another(run):
    before = (run.path / "recipe.toml").read_bytes()
    with pytest.raises(InputError, match=r"tales-1' exists already.*--resume.*--out"):
        create_run(run.path, Recipe())
    assert (run.path / "recipe.toml").read_bytes() == before


def test_a_run_is_not_made_over_a_file_or_below_one(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        create_run(tmp_path / "file", RECIPE)
    with pytest.raises(InputError, match=r"file.* is in the way"):
        create_run(tmp_path / "file" / "tales-1", RECIPE)
    assert (tmp_path / "file").read_text() == "precious"


def test_what_is_no_run_is_told_with_the_nearest_that_is(run):
    with pytest.raises(InputError, match=r"tales-2' does not exist\. Did you mean 'tales-1'\?"):
        open_run(run.path.parent / "tales-2")
    (run.path.parent / "tales-3").mkdir()
    with pytest.raises(InputError, match=r"tales-3' is not a run folder.*recipe\.toml"):
        open_run(run.path.parent / "tales-3")
    with pytest.raises(InputError, match=r"recipe\.toml' is not a run folder"):
        open_run(run.path / "recipe.toml")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"[model\ndepth = 2", "not a valid TOML file"),
        (b"a = " + b"1" * 5000, "not a valid TOML file"),
        (b"a = " + b"[" * 5000, "not a valid TOML file"),
        (b"\xff\xfe\x00", "not a valid TOML file"),
        (b"[model]\ndepht = 2", "depht"),
        (b"[model]\ndepth = 'two'", "model.depth"),
    ],
)
def test_a_damaged_recipe_is_told_by_name(damage, said, run):
    (run.path / "recipe.toml").write_bytes(damage)
    with pytest.raises(InputError, match=r"tales-1/recipe\.toml") as error:
        open_run(run.path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_second_process_is_refused(run, holder):
    said = r"Another process is training in .*tales-1"
    with pytest.raises(InputError, match=said), lock_run(run.path):
        pytest.fail("two processes hold one run")
    holder.communicate(input="")
    with lock_run(run.path):  # the first one ended
        pass


def test_a_killed_process_holds_nothing(run, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (run.path / ".lock").exists()
    with lock_run(run.path):
        pass


def test_a_lock_is_given_back_when_its_holder_fails(run):
    with pytest.raises(XunlianError), lock_run(run.path):
        raise XunlianError("it failed")
    with lock_run(run.path), pytest.raises(InputError), lock_run(run.path):
        pytest.fail("held twice")
    with lock_run(run.path):
        pass


def test_two_runs_are_held_at_once(run, tmp_path):
    other = create_run(tmp_path / "other", RECIPE)
    with lock_run(run.path), lock_run(other.path):
        pass


def test_a_lock_that_may_not_be_written_is_told(run, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"No permission for '.*\.lock'"), lock_run(run.path):
        pass


def test_new_runs_are_numbered_and_the_last_is_found(tmp_path):
    assert next_run_path("tales", tmp_path) == tmp_path / "tales-1"
    assert latest_run_path("tales", tmp_path) is None
    for name in ("tales-1", "tales-2", "tales-9", "tales-10", "tales-old", "tales", "other-11"):
        (tmp_path / name).mkdir()
    assert next_run_path("tales", tmp_path) == tmp_path / "tales-3"
    assert latest_run_path("tales", tmp_path) == tmp_path / "tales-10"


def test_names_with_letters_that_patterns_use_are_found(tmp_path):
    (tmp_path / "try[1]-1").mkdir()
    (tmp_path / "x-²").mkdir()
    assert latest_run_path("try[1]", tmp_path) == tmp_path / "try[1]-1"
    assert latest_run_path("x", tmp_path) is None
