"""Tuning: the search keeps what is faster, and training uses it where the recipe leaves it open."""

import json

import pytest
from brief import RATES, train
from conftest import TINY

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.machine.features import read_machine
from xunlian.machine.profile import profile_key, profile_path
from xunlian.recipe.resolve import resolve
from xunlian.studies import tune
from xunlian.studies.tune import search
from xunlian.training import decisions, fitting

START = {"attention": "matmul", "micro_batch_tokens": 4096, "threads": 2}
CHOICES = {
    "attention": ["matmul", "sdpa"],
    "micro_batch_tokens": [2048, 8192, 1024],
    "threads": [1],
}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(decisions, "measure_rates", lambda device: RATES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made_up(seconds):
    """A machine whose steps take what `seconds` says, and the settings it was tried with."""
    tried = []

    def trial(settings):
        tried.append(settings)
        return seconds(settings)

    return trial, tried


def test_each_setting_is_tried_on_the_best_so_far():
    def seconds(s):
        small = s["micro_batch_tokens"] < 4096
        return {
            ("matmul", False): 1.0,
            ("matmul", True): 1.2,
            ("sdpa", False): 0.9,
            ("sdpa", True): 0.5,
        }[s["attention"], small]

    trial, tried = made_up(seconds)
    found = search(START, CHOICES, trial)
    assert found.settings == {"attention": "sdpa", "micro_batch_tokens": 2048}
    assert found.gain == pytest.approx(2.0)
    assert {**START, "attention": "sdpa", "micro_batch_tokens": 8192} in tried


def test_what_is_faster_by_less_than_the_noise_is_not_kept():
    trial, _ = made_up(lambda s: 0.99 if s["threads"] == 1 else 1.0)
    assert search(START, CHOICES, trial).settings == {}


def test_what_the_turns_do_not_confirm_is_not_kept():
    """The first trial of the defaults was disturbed."""
    times = iter([9.0])
    trial, tried = made_up(lambda s: next(times, 1.0))
    found = search(START, CHOICES, trial)
    assert found.settings == {} and found.gain == 1.0
    assert tried[-2:] == [START, {**START, "attention": "sdpa"}]


def test_training_uses_what_was_found_where_the_recipe_leaves_it_open(
    tiny_corpus, tmp_path, monkeypatch
):
    def measured(recipe, initial, corpus, group, settings):
        return 0.5 if settings["micro_batch_tokens"] == 256 else 1.0

    monkeypatch.setattr(tune, "_measure", measured)
    found = xunlian.tune(xunlian.Recipe(), [f"corpus.path={tiny_corpus}", *TINY])
    assert found["settings"] == {"micro_batch_tokens": 256} and found["gain"] == pytest.approx(2)
    settings = [f"corpus.path={tiny_corpus}", *TINY, "training.budget=2 steps"]
    run = xunlian.train(xunlian.Recipe(), settings, out=tmp_path / "tuned")
    assert run.recipe.training.micro_batch_tokens == 256
    assert "Tuned here: micro_batch_tokens 256 (2.00x)." in run.facts()["notes"]
    asked = [*settings, "training.micro_batch_tokens=512"]
    run = xunlian.train(xunlian.Recipe(), asked, out=tmp_path / "asked")
    assert run.recipe.training.micro_batch_tokens == 512
    other = [*settings, "model.width=96"]
    run = xunlian.train(xunlian.Recipe(), other, out=tmp_path / "other")
    assert not any("Tuned" in note for note in run.facts()["notes"])


def test_only_micro_batches_that_fit_are_tried(tiny_corpus, monkeypatch):
    tried = set()

    def measured(recipe, initial, corpus, group, settings):
        tried.add(settings["micro_batch_tokens"])
        return 1.0

    monkeypatch.setattr(tune, "_measure", measured)
    asked = [f"corpus.path={tiny_corpus}", *TINY, "training.attention=sdpa"]
    xunlian.tune(xunlian.Recipe(), asked)
    assert tried == {512, 256, 128, 64, 32}
    tried.clear()

    def memory_of(recipe, vocab_size, rows, group, *, compiled):
        return {"activations": fitting.micro_rows(recipe, group) * recipe.model.context}

    monkeypatch.setattr(fitting, "memory_of", memory_of)
    monkeypatch.setattr(fitting, "free_memory", lambda device: 128)
    found = xunlian.tune(xunlian.Recipe(), asked)
    assert found["defaults"]["micro_batch_tokens"] == 128 and tried == {128, 64, 32}


def test_real_trials_leave_a_profile(tiny_corpus, capsys, monkeypatch):
    monkeypatch.setattr(tune, "TURNS", 1)
    arguments = ["tune", "small", f"corpus.path={tiny_corpus}", *TINY, "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["defaults"]["micro_batch_tokens"] == 512 and found["step_seconds"] > 0
    assert set(found["settings"]) <= {"attention", "micro_batch_tokens"}  # TINY fixes the rest
    (kept,) = json.loads(profile_path().read_text()).values()
    assert kept == {**found["settings"], "gain": round(found["gain"], 3)}


def test_a_damaged_profile_is_passed_over_with_a_warning(tiny_corpus, tmp_path, capsys):
    profile_path().parent.mkdir(parents=True)
    profile_path().write_text("{broken")
    train(tiny_corpus, tmp_path / "run", "training.budget=1 steps")
    assert "cannot be read" in capsys.readouterr().err


def test_what_is_found_for_a_model_of_other_people_is_found_again_by_train(
    tiny_text, tmp_path, monkeypatch
):
    """Trials start from the folder, whose rows, more than there are tokens, count."""
    pytest.importorskip("transformers")
    from made_folder import save_folder

    save_folder(tmp_path / "folder", "llama")
    corpus = xunlian.prepare(
        tiny_text, out=tmp_path / "corpus", tokenizer=tmp_path / "folder", val=0.1
    )
    sizes = set()

    def time_steps(stepper, rows, batch_tokens, group):
        sizes.add(stepper.model.config.vocab_size)
        return 0.5 if stepper.micro_rows * rows.context == 256 else 1.0

    monkeypatch.setattr(tune, "time_steps", time_steps)
    monkeypatch.setattr(tune, "TURNS", 1)
    settings = [f"corpus.path={corpus.path}", f"model.init_from={tmp_path / 'folder'}", *TINY]
    found = xunlian.tune(xunlian.Recipe(), settings)
    assert found["settings"] == {"micro_batch_tokens": 256}
    assert sizes == {448} and corpus.vocab_size == 400
    run = xunlian.train(
        xunlian.Recipe(), [*settings, "training.budget=2 steps"], out=tmp_path / "run"
    )
    assert run.recipe.training.micro_batch_tokens == 256


def test_what_was_found_for_one_task_is_not_taken_for_another():
    recipe = resolve(
        xunlian.load_recipe(xunlian.Recipe(), TINY),
        vocab_size=100,
        corpus_tokens=10_000,
        matmul_rate=1e10,
        on_gpu=False,
    )
    tasks = ("language-model", "chat", "preference")
    keys = {
        profile_key(read_machine(), recipe.model_copy(update={"task": task}), 100, "cpu")
        for task in tasks
    }
    assert len(keys) == len(tasks)


def test_a_recipe_of_another_task_than_the_corpus_is_refused(tiny_corpus):
    settings = [f"corpus.path={tiny_corpus}", *TINY, "task=translation"]
    with pytest.raises(InputError, match=r"task is translation, but the corpus .* holds text"):
        xunlian.tune(xunlian.Recipe(), settings)
