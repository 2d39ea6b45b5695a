"""What a finished training shows."""

import random
import shlex

import pytest
from conftest import TINY

import xunlian
from xunlian.cli import VERBS
from xunlian.runs.folder import open_run
from xunlian.shards.corpus import open_corpus
from xunlian.training.advice import next_commands, too_long
from xunlian.training.summary import translate_samples


def trained(folder, task, target="ein Hund"):
    path = folder / "pairs.tsv"
    path.write_text("".join(f"a dog {i}\t{target} {i}\n" for i in range(60)), "utf-8")
    corpus = xunlian.prepare(
        path, out=folder / "corpus", pairs=True, val=0.2, overrides=[f"task={task}"]
    )
    overrides = [f"task={task}", f"corpus.path={corpus.path}", *TINY, "training.budget=2 steps"]
    return xunlian.train(xunlian.Recipe(), overrides, out=folder / "run")


@pytest.mark.parametrize(
    "task, verb, metric",
    [("translation", "translate", "bleu"), ("summarization", "summarize", "rouge")],
)
def test_pairs_are_shown_with_reference_and_translation(task, verb, metric, tmp_path, capsys):
    run = trained(tmp_path, task)
    shown = capsys.readouterr().err
    samples = translate_samples(run, open_corpus(tmp_path / "corpus"))
    assert len(samples) == 5
    for source, reference, ours in samples:
        assert reference == source.replace("a dog", "ein Hund")  # the two sides of one pair
        assert ours == xunlian.translate(run.path, source, precision="fp32")
        assert f"source     {source}\nreference  {reference}\n" in shown
        assert reference in run.report_file.read_text("utf-8")
    commands = [command for command, _ in next_commands(run)]
    assert commands[0] == f"xunlian {verb} {run.path}"
    assert commands[1] == f"xunlian evaluate {run.path} --metrics {metric}"
    assert f"xunlian {verb} {run.path}" in xunlian.info(run.path)["next"]
    assert all(shlex.split(command)[1] in VERBS for command in commands)
    assert all(command in shown for command in commands)


def test_a_run_without_validation_pairs_shows_none(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"a dog {i}\tein Hund {i}\n" for i in range(60)), "utf-8")
    corpus = xunlian.prepare(path, out=tmp_path / "corpus", pairs=True, val=0)
    overrides = ["task=translation", f"corpus.path={corpus.path}", *TINY, "training.budget=2 steps"]
    run = xunlian.train(xunlian.Recipe(), overrides, out=tmp_path / "run")
    assert translate_samples(open_run(run.path), corpus) == []


def test_a_training_that_learned_its_text_by_heart_is_told_to_be_shorter(tmp_path, capsys):
    """Forty words in an order of no meaning: soon known by heart, and of no use elsewhere."""
    words = random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=2000)
    (tmp_path / "a.txt").write_text("".join(words[:400]), "utf-8")
    (tmp_path / "b.txt").write_text("".join(words[400:]), "utf-8")
    corpus = xunlian.prepare(
        tmp_path / "a.txt", out=tmp_path / "corpus", tokenizer="char", val=tmp_path / "b.txt"
    )
    settings = [f"corpus.path={corpus.path}", *TINY, "training.budget=100 steps"]
    run = xunlian.train(
        xunlian.Recipe(), [*settings, "training.validate_every=10"], out=tmp_path / "run"
    )
    best = run.facts()["best_step"]
    shown = capsys.readouterr().err
    assert best < 80 and f'(training.budget="{best} steps")' in shown
    assert f"lowest at step {best} of 100" in run.report_file.read_text("utf-8")
    assert not any("--resume" in command for command, _ in next_commands(run))


def test_a_training_whose_last_weights_are_nearly_the_best_is_told_nothing():
    assert too_long({"best_step": 90, "step": 100}) is None
    assert too_long({"best_step": 100, "step": 100}) is None
    assert too_long({"best_step": 0, "step": 100}) is None  # nothing was validated
