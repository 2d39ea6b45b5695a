"""A run killed and resumed ends as if nothing had happened, bit by bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import TINY, xunlian_command
from safetensors.torch import load_file

import xunlian
from xunlian.errors import InputError
from xunlian.training.checkpoint import list_checkpoints

FIXED = [
    *TINY,
    "model.dropout=0.1",
    "training.checkpoint_every=7",
    "training.validate_every=10",
    "training.log_every=5",
]


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
    # kill -9 as soon as the second checkpoint stands
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "xunlian",
            "train",
            "small",
            *arguments,
            "--out",
            str(tmp_path / "killed"),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    second = tmp_path / "killed" / "checkpoints" / "step-00000014"
    while process.poll() is None and not second.exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    if json.loads(
        (list_checkpoints(tmp_path / "killed" / "checkpoints")[-1] / "state.json").read_text()
    )["progress"]["finished"]:
        pytest.skip("the run was over before it could be killed")
    xunlian.train(tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_interrupt_writes_a_checkpoint_and_says_how_to_go_on(tiny_corpus, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "xunlian",
            "train",
            "small",
            f"corpus.path={tiny_corpus}",
            *TINY,
            "training.budget=100000 steps",
            "--out",
            str(run),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors and "Traceback" not in errors
    assert len(list_checkpoints(run / "checkpoints")) == 1


def test_a_corpus_with_another_tokenizer_is_refused_on_resume(tiny_run, tiny_text, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    other = xunlian.prepare(tiny_text, out=tmp_path / "other", tokenizer="byte", val=0.1)
    recipe = (run / "recipe.toml").read_text()
    path = next(line for line in recipe.splitlines() if line.startswith("path = "))
    (run / "recipe.toml").write_text(recipe.replace(path, f'path = "{other.path}"'))
    with pytest.raises(InputError, match="another tokenizer"):
        xunlian.train(run, ["training.budget=90 steps"], resume=True)


def test_a_finished_run_goes_on_only_with_a_longer_budget(tiny_run, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    with pytest.raises(InputError, match=r"finished.*training\.budget"):
        xunlian.train(run, resume=True)
    with pytest.raises(InputError, match=r"model\.depth=3.*cannot change"):
        xunlian.train(run, ["model.depth=3"], resume=True)
    xunlian.train(run, ["training.budget=70 steps"], resume=True)
    assert list_checkpoints(run / "checkpoints")[-1].name == "step-00000070"


def test_an_existing_run_folder_is_refused_without_resume(tiny_run, tiny_corpus):
    done = xunlian_command("train", "small", f"corpus.path={tiny_corpus}", "--out", tiny_run)
    assert done.returncode == 2
    assert "exists already" in done.stderr and "--resume" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_process_cannot_train_in_the_same_run(tiny_run):
    from xunlian.runs.folder import lock_run

    with lock_run(tiny_run), pytest.raises(InputError, match="Another process"), lock_run(tiny_run):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_folder_is_refused(tiny_corpus, tmp_path):
    tmp_path.chmod(0o500)
    done = xunlian_command(
        "train", "small", f"corpus.path={tiny_corpus}", "--out", tmp_path / "run"
    )
    assert done.returncode == 2 and "permission" in done.stderr.lower()
