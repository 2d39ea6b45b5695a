"""A run killed and resumed ends as if nothing had happened, bit by bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from brief import train
from conftest import TINY, xunlian_command
from safetensors.torch import load_file

import xunlian
from xunlian.errors import InputError
from xunlian.runs.folder import lock_run
from xunlian.training import job
from xunlian.training.checkpoint import list_checkpoints
from xunlian.training.parallel import Group

FIXED = [
    *TINY,
    "model.dropout=0.1",
    "training.checkpoint_every=7",
    "training.validate_every=10",
    "training.log_every=5",
]

DIES_IN_STEP_17 = """
import os, sys
from xunlian.cli import main
from xunlian.training.step import Stepper

step, taken = Stepper.step, []


def dies(self, *arguments):
    taken.append(1)
    if len(taken) == 17:
        os.kill(os.getpid(), 9)
    return step(self, *arguments)


Stepper.step = dies
main(sys.argv[1:])
"""


def last_checkpoint(run):
    folder = list_checkpoints(run / "checkpoints")[-1]
    return {name: load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer")}


def assert_same_run(one, two):
    first, second = last_checkpoint(one), last_checkpoint(two)
    for part in first:
        assert first[part].keys() == second[part].keys()
        for name, tensor in first[part].items():
            assert (tensor == second[part][name]).all(), name

    def curve(run):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(r["step"], r.get("loss"), r.get("val_loss")) for r in rows]

    assert curve(one) == curve(two)


@pytest.mark.parametrize(
    "budget", ["30 steps", pytest.param("15360 tokens", marks=pytest.mark.slow)]
)
def test_killed_run_resumes_bit_identically(tiny_corpus, tmp_path, budget):
    arguments = [f"corpus.path={tiny_corpus}", *FIXED, f"training.budget={budget}"]
    xunlian.train("small", arguments, out=tmp_path / "whole")
    killed = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", DIES_IN_STEP_17, "train", "small", *arguments, "--out", killed],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list_checkpoints(killed / "checkpoints")[-1].name == "step-00000014"
    assert '"step":15,' in (killed / "metrics.jsonl").read_text()  # will be written again
    xunlian.train(killed, resume=True)
    assert_same_run(tmp_path / "whole", killed)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_a_compiled_run_resumes_bit_identically(tiny_corpus, tmp_path, capsys, family):
    """The pass by which it compiles leaves dropout and what an LSTM remembers as they were."""
    torch._dynamo.reset()
    settings = [*FIXED, "training.compile=on", "training.keep_checkpoints=9"]
    settings += [f"model.family={family}", "training.budget=30 steps"]
    whole = train(tiny_corpus, tmp_path / "whole", *settings)
    assert whole.recipe.training.compile == "on"
    # As if it had been killed after the second checkpoint.
    resumed = shutil.copytree(whole.path, tmp_path / "resumed")
    for path in list_checkpoints(resumed / "checkpoints")[2:]:
        shutil.rmtree(path)
    capsys.readouterr()
    xunlian.train(resumed, resume=True)
    told = capsys.readouterr().err
    assert "Compiled in" in told and "Going on from step 14" in told
    assert_same_run(whole.path, resumed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupt_writes_a_checkpoint_and_says_how_to_go_on(tiny_corpus, tmp_path, number):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "xunlian", "train", "small", f"corpus.path={tiny_corpus}"]
    command += [*TINY, "training.budget=100000 steps", "--out", run]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None and not (run / "metrics.jsonl").exists():
                time.sleep(0.05)
            process.send_signal(number)
            _, errors = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    assert len(list_checkpoints(run / "checkpoints")) == 1


def name_corpus(run, corpus):
    """Let the recipe of `run` name this corpus."""
    recipe = (run / "recipe.toml").read_text()
    path = next(line for line in recipe.splitlines() if line.startswith("path = "))
    (run / "recipe.toml").write_text(recipe.replace(path, f'path = "{corpus}"'))


def test_a_corpus_with_another_tokenizer_is_refused_on_resume(tiny_run, tiny_text, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    other = xunlian.prepare(tiny_text, out=tmp_path / "other", tokenizer="byte", val=0.1)
    name_corpus(run, other.path)
    with pytest.raises(InputError, match="another tokenizer"):
        xunlian.train(run, ["training.budget=90 steps"], resume=True)


def test_another_text_in_the_same_tokens_is_refused_on_resume(tiny_run, backwards_corpus, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    name_corpus(run, backwards_corpus)
    with pytest.raises(InputError, match=r"is another one than the run .*model\.init_from="):
        xunlian.train(run, ["training.budget=90 steps"], resume=True)


def test_a_finished_run_goes_on_only_with_a_longer_budget(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    with pytest.raises(InputError, match=r"finished.*training\.budget"):
        xunlian.train(run, resume=True)
    with pytest.raises(InputError, match=r"model\.depth=3.*cannot change"):
        xunlian.train(run, ["model.depth=3"], resume=True)
    xunlian.train(run, ["training.budget=70 steps"], resume=True)
    assert list_checkpoints(run / "checkpoints")[-1].name == "step-00000070"


def test_the_time_before_a_resume_counts_towards_the_budget(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    state = list_checkpoints(run / "checkpoints")[-1] / "state.json"
    spent = {"seconds": 1e6, "setup_seconds": 9e5}
    state.write_text(json.dumps(json.loads(state.read_text()) | spent))
    facts = xunlian.train(run, ["training.budget=5s"], resume=True).facts()
    assert facts["step"] == 60 and facts["seconds"] > 1e6
    state = list_checkpoints(run / "checkpoints")[-1] / "state.json"
    setup = json.loads(state.read_text())["setup_seconds"]
    assert 9e5 < setup < 9e5 + 60  # with that of the process that went on


def test_a_run_that_another_process_trains_is_left_as_it_is(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:  # what it did after its last checkpoint
        file.write('{"step": 61, "tokens": 31232, "seconds": 9.5, "loss": 2.5}\n')
    files = [run / "metrics.jsonl", run / "recipe.toml"]
    before = [file.read_bytes() for file in files]
    with lock_run(run), pytest.raises(InputError, match="Another process"):
        xunlian.train(run, ["training.budget=90 steps"], resume=True)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("lost", "said"),
    [("run.json", "stopped before its first step"), ("checkpoints", "There is no checkpoint")],
)
def test_a_run_that_was_killed_too_early_to_go_on_is_told_how_to_begin_anew(
    lost, said, tiny_run, tmp_path
):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / lost).rename(tmp_path / "lost")
    with pytest.raises(InputError, match=said) as caught:
        xunlian.train(run, ["training.budget=90 steps"], resume=True)
    told = str(caught.value)
    assert f"'{run}" in told and "Remove" in told and "start anew without --resume" in told


def test_processes_that_cannot_share_a_step_evenly_are_refused_on_resume(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    three = Group(0, 3, torch.device("cpu"))
    with pytest.raises(InputError, match="has 16 rows, which 3 processes cannot share"):
        job.resume(run, ["training.budget=90 steps"], None, three, time.time())
    assert "90 steps" not in (run / "recipe.toml").read_text()


def test_an_existing_run_folder_is_refused_without_resume(tiny_run, tiny_corpus):
    done = xunlian_command("train", "small", f"corpus.path={tiny_corpus}", "--out", tiny_run)
    assert done.returncode == 2
    assert "exists already" in done.stderr and "--resume" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_process_cannot_train_in_the_same_run(tiny_run):
    with lock_run(tiny_run), pytest.raises(InputError, match="Another process"), lock_run(tiny_run):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_folder_is_refused(tiny_corpus, tmp_path):
    tmp_path.chmod(0o500)
    done = xunlian_command(
        "train", "small", f"corpus.path={tiny_corpus}", "--out", tmp_path / "run"
    )
    assert done.returncode == 2 and "permission" in done.stderr.lower()
