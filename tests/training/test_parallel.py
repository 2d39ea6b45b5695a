"""Two processes give the loss curve of one."""

import json
import os
import subprocess
import sys

import pytest
from conftest import TINY

import xunlian


def losses(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row], [
        row["val_loss"] for row in rows if "val_loss" in row
    ]


def torchrun(*arguments):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--standalone",
            "-m",
            "xunlian",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_train_like_one_and_one_goes_on_after_two(tiny_corpus, tmp_path):
    arguments = [
        f"corpus.path={tiny_corpus}",
        *TINY,
        "training.budget=24 steps",
        "training.log_every=1",
        "training.validate_every=12",
        "training.checkpoint_every=20",
        "training.micro_batch_tokens=128",
    ]
    xunlian.train("small", arguments, out=tmp_path / "one")
    done = torchrun("train", "small", *arguments, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    (one, val_one), (two, val_two) = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 24
    assert one == pytest.approx(two, abs=1e-4)
    assert val_one == pytest.approx(val_two, abs=1e-4)

    xunlian.train(tmp_path / "two", ["training.budget=30 steps"], resume=True)
    whole = losses(tmp_path / "two")[0]
    assert len(whole) == 30
