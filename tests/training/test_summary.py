"""What a finished training of pairs shows."""

import shlex

import pytest
from conftest import TINY

import xunlian
from xunlian.cli import VERBS
from xunlian.runs.folder import open_run
from xunlian.shards.corpus import open_corpus
from xunlian.training.summary import next_commands, translate_samples


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
