"""A comparison: runs like any other, kept or gone on with, and numbers that fit."""

import contextlib
import itertools
import json
import random
import signal
import subprocess
from pathlib import Path

import pytest
from brief import RATES
from conftest import TINY

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError, Interrupted
from xunlian.runs.folder import open_run
from xunlian.studies import child, compare, probe
from xunlian.training import decisions, loop

TRAIN_IN_CHILD = child.train_in_child  # the fixture `quick` puts another in its place
SETTINGS = [setting for setting in TINY if not setting.startswith(("model.depth", "model.width"))]
SETTINGS += ["model.size=60k", "training.validate_every=2"]


def train_here(arguments):
    """As `train_in_child`, in this process: quicker."""
    child.raise_for(main(["train", *arguments]), arguments)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(decisions, "measure_rates", lambda device: RATES)
    monkeypatch.setattr(child, "train_in_child", train_here)
    monkeypatch.setattr(compare, "PROBE_STEPS", 2)
    for name, value in {
        "DISTANCES": (2, 4),
        "SIZE": "60k",
        "BATCH_TOKENS": 128,
        "TESTED": 4,
    }.items():
        monkeypatch.setattr(probe, name, value)


def run_compare(corpus, out, *, families="lstm,transformer", budget="4 steps", **options):
    settings = [f"corpus.path={corpus}", *SETTINGS]
    return xunlian.compare("small", settings, families=families, budget=budget, out=out, **options)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def interrupted_after(steps):
    """Ctrl-C comes in every training after so many steps."""
    real = loop.interruptible

    @contextlib.contextmanager
    def soon():
        counted = itertools.count()
        yield lambda: next(counted) >= steps

    loop.interruptible = soon
    try:
        yield
    finally:
        loop.interruptible = real


def test_a_comparison_leaves_ordinary_runs_and_all_its_numbers(tiny_corpus, tmp_path):
    out = tmp_path / "compared"
    result = run_compare(tiny_corpus, out, families="rnn,gru,lstm,transformer", seeds=1)
    assert [run["family"] for run in result["runs"]] == ["rnn", "gru", "lstm", "transformer"]
    sizes = [run["parameters"] for run in result["runs"]]
    assert max(sizes) < 1.06 * min(sizes)
    for found in result["runs"]:
        run = open_run(out / f"{found['family']}-1")
        assert run.recipe.model.family == found["family"]
        assert run.facts()["finished"] and found["steps"] == run.facts()["step"] == 4
        assert found["scores"]["loss"] == run.facts()["best_val_loss"]
        assert [row["step"] for row in found["curve"]] == [2, 4]
        assert [bucket["last"] for bucket in found["by_position"]] == [1, 2, 4, 8, 16, 32]
        assert found["tokens_per_second"] > 0
    # A decoder begins every validation window anew, too.
    scores = result["runs"][-1]["scores"]
    assert scores["fresh_loss"] == pytest.approx(scores["loss"], abs=1e-4)
    assert [one["family"] for one in result["probe"]] == result["families"]
    assert json.loads((out / "compare.json").read_text()) == json.loads(json.dumps(result))
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "compare.html").read_text()
    for name in ("RNN", "GRU", "LSTM", "Transformer", "Copying over a distance"):
        assert name in page
    assert "http://" not in page and "https://" not in page


def test_a_comparison_goes_on_where_it_was_stopped(tiny_corpus, tmp_path):
    whole = run_compare(tiny_corpus, tmp_path / "whole", budget="6 steps", probe=False)
    out = tmp_path / "stopped"
    with interrupted_after(3), pytest.raises(Interrupted, match="same command"):
        run_compare(tiny_corpus, out, budget="6 steps", probe=False)
    assert open_run(out / "lstm-1").facts()["step"] == 3
    assert not (out / "transformer-1").exists()
    result = run_compare(tiny_corpus, out, budget="6 steps", probe=False)
    for one, other in zip(result["runs"], whole["runs"], strict=True):
        assert one["scores"] == other["scores"]
    # What is finished stays as it is, and a family may join.
    before = files(out / "lstm-1") | files(out / "transformer-1")
    joined = run_compare(
        tiny_corpus, out, families="lstm,gru,transformer", budget="6 steps", probe=False
    )
    assert files(out / "lstm-1") | files(out / "transformer-1") == before
    assert [run["family"] for run in joined["runs"]] == ["lstm", "gru", "transformer"]


def test_a_training_that_saved_nothing_begins_anew(tiny_corpus, tmp_path, monkeypatch):
    out = tmp_path / "compared"

    def killed(arguments):
        path = Path(arguments[-1])
        path.mkdir(parents=True)
        (path / "recipe.toml").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "train_in_child", killed)
    with pytest.raises(KeyboardInterrupt):
        run_compare(tiny_corpus, out, families="lstm", probe=False)
    monkeypatch.setattr(child, "train_in_child", train_here)
    result = run_compare(tiny_corpus, out, families="lstm", probe=False)
    assert result["runs"][0]["steps"] == 4


def test_probes_that_were_made_are_kept(tiny_corpus, tmp_path, monkeypatch):
    out = tmp_path / "compared"
    first = run_compare(tiny_corpus, out, families="transformer")
    asked = []
    real = probe.probe_families

    def watched(families, *rest, **options):
        asked.extend(families)
        return real(families, *rest, **options)

    monkeypatch.setattr(probe, "probe_families", watched)
    second = run_compare(tiny_corpus, out)
    assert asked == ["lstm"]
    assert second["probe"][1] == first["probe"][0]


def test_several_seeds_train_several_runs(tiny_corpus, tmp_path):
    result = run_compare(tiny_corpus, tmp_path / "c", families="transformer", seeds=2, probe=False)
    assert [run["seed"] for run in result["runs"]] == [1, 2]
    losses = {run["scores"]["loss"] for run in result["runs"]}
    assert len(losses) == 2
    assert result["probe"] == []


@pytest.fixture(scope="module")
def pair_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(3, 9))) for _ in range(600)]
    lines = [f"{word}\t{word[::-1]}\n" for word in dict.fromkeys(words) if word != word[::-1]]
    (folder / "pairs.tsv").write_text("".join(lines))
    return xunlian.prepare(
        folder / "pairs.tsv",
        pairs=True,
        val=0.05,
        out=folder / "corpus",
        tokenizer="char",
        overrides=["corpus.target_language=en"],
        workers=1,
    ).path


def test_pairs_are_compared_by_bleu_target_place_and_source_length(pair_corpus, tmp_path):
    settings = [f"corpus.path={pair_corpus}", *SETTINGS, "task=translation"]
    result = xunlian.compare(
        xunlian.Recipe(),
        settings,
        families=["gru", "transformer"],
        budget="4 steps",
        out=tmp_path / "compared",
        probe=False,
    )
    sizes = [run["parameters"] for run in result["runs"]]
    assert max(sizes) < 1.06 * min(sizes)
    for run in result["runs"]:
        assert run["scores"]["bleu"] >= 0 and run["scores"]["perplexity"] > 1
        tokens = sum(bucket["tokens"] for bucket in run["by_position"])
        assert tokens == sum(bucket["tokens"] for bucket in run["by_source_length"]) > 0
        nats = sum(bucket["tokens"] * bucket["loss"] for bucket in run["by_position"])
        assert nats / tokens == pytest.approx(run["scores"]["loss"], abs=1e-4)
    assert "Loss by length of the source" in (tmp_path / "compared/compare.html").read_text()


def test_the_command_prints_a_table_or_one_json_object(tiny_corpus, tmp_path, capsys):
    words = ["compare", "small", f"corpus.path={tiny_corpus}", *SETTINGS, "--no-probe"]
    words += ["--families", "transformer", "--budget", "4steps", "--out", str(tmp_path / "c")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Transformer" in shown and "perplexity" in shown and "compare.html" in shown
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["runs"][0]["scores"]["perplexity"] > 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"families": "rnn,lstn"}, ["lstn", "'lstm'"]),
        ({"budget": "soon"}, ["--budget", "soon", "5min"]),
        ({"budget": "3s"}, ["--budget", "3s", "10s"]),
        ({"seeds": 0}, ["--seeds"]),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_made(
    tiny_corpus, tmp_path, options, words
):
    with pytest.raises(InputError) as caught:
        run_compare(tiny_corpus, tmp_path / "compared", **options)
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "compared").exists()


def test_a_budget_is_needed(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match="--budget 5min"):
        xunlian.compare("small", [f"corpus.path={tiny_corpus}"], out=tmp_path / "compared")


def test_a_folder_of_something_else_is_left_alone(tiny_corpus, tmp_path):
    run_compare(tiny_corpus, tmp_path / "c", families="transformer", probe=False)
    with pytest.raises(InputError, match=r"training\.budget = 4 steps, not 5 steps"):
        run_compare(tiny_corpus, tmp_path / "c", families="transformer", budget="5 steps")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("Dear reader")
    with pytest.raises(InputError, match="no comparison"):
        run_compare(tiny_corpus, tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["one.txt"]


def test_a_child_that_cannot_train_is_an_error_here(capfd):
    with pytest.raises(InputError, match="`xunlian train no-such-recipe` cannot go on"):
        TRAIN_IN_CHILD(["no-such-recipe"])
    assert "xunlian train: " in capfd.readouterr().err  # the child says why


class FakeChild:
    """A child that is interrupted `times` times while we wait for it."""

    def __init__(self, times):
        self.times, self.signals = times, []

    def __call__(self, command, *, env, process_group, **_):
        # A group of its own: Ctrl-C of the terminal reaches it through us alone.
        assert command[-1] == "small" and process_group == 0
        self.cache = Path(env["TORCHINDUCTOR_CACHE_DIR"])
        assert list(self.cache.iterdir()) == []
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        self.times -= 1
        if self.times >= 0:
            raise KeyboardInterrupt
        return Interrupted.exit_status

    def send_signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.signals.append(signal.SIGKILL)


@pytest.mark.parametrize(
    ("times", "error", "signals"),
    [
        (1, Interrupted, [signal.SIGINT]),
        (2, KeyboardInterrupt, [signal.SIGINT, signal.SIGKILL]),
    ],
)
def test_ctrl_c_is_passed_on_to_a_child_and_a_second_one_ends_it(
    monkeypatch, times, error, signals
):
    fake = FakeChild(times)
    monkeypatch.setattr(subprocess, "Popen", fake)
    with pytest.raises(error):
        TRAIN_IN_CHILD(["small"])
    assert fake.signals == signals
    assert not fake.cache.exists()


@pytest.mark.slow
def test_children_train_within_their_time(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "train_in_child", TRAIN_IN_CHILD)
    result = run_compare(
        tiny_corpus, tmp_path / "compared", families="transformer", budget="30s", probe=False
    )
    (run,) = result["runs"]
    assert run["steps"] > 10 and 20 < run["seconds"] < 60
