"""Two processes give the loss curve of one."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import TINY
from torch import distributed

import xunlian
from xunlian.errors import InputError
from xunlian.training import parallel


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
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def train_alike(corpus, folder, steps, *settings):
    """Train in FOLDER/one and, by two processes, in FOLDER/two; both have the same losses."""
    arguments = [f"corpus.path={corpus}", *TINY, f"training.budget={steps} steps", *settings]
    arguments += ["training.log_every=1", "training.micro_batch_tokens=128"]
    xunlian.train("small", arguments, out=folder / "one")
    done = torchrun("train", "small", *arguments, "--out", folder / "two")
    assert done.returncode == 0, done.stderr
    (one, val_one), (two, val_two) = losses(folder / "one"), losses(folder / "two")
    assert len(one) == len(two) == steps
    assert one == pytest.approx(two, abs=1e-4)
    assert val_one == pytest.approx(val_two, abs=1e-4)


def test_two_processes_train_like_one_and_one_goes_on_after_two(tiny_corpus, tmp_path):
    often = ["training.validate_every=12", "training.checkpoint_every=20"]
    train_alike(tiny_corpus, tmp_path, 24, *often)
    for run in ("one", "two"):
        xunlian.train(tmp_path / run, ["training.budget=30 steps"], resume=True)
    (one, val_one), (two, val_two) = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 30
    assert one == pytest.approx(two, abs=1e-3)
    assert val_one == pytest.approx(val_two, abs=1e-3)


def test_on_gpus_gradients_go_by_nccl_and_numbers_of_hosts_by_gloo(monkeypatch):
    """What hosts tell each other may not wait for a GPU: it never goes there."""
    done, summed = [], []
    monkeypatch.setattr(parallel, "pick_device", lambda rank: torch.device("cuda", rank))
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", done.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(distributed, "init_process_group", lambda name, **_: done.append(name))
    monkeypatch.setattr(distributed, "all_reduce", summed.append)
    for name, value in {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    group = parallel.join_group()
    assert done == [torch.device("cuda", 1), "high", "cpu:gloo,cuda:nccl"]
    assert group.sum(1.5, 2.0) == [1.5, 2.0]
    assert [(tensor.device.type, tensor.dtype) for tensor in summed] == [("cpu", torch.float64)]


def test_sums_on_the_device_are_in_double_precision_and_stay_there():
    alone = parallel.Group(0, 1, torch.device("cpu"))
    big, one = alone.sum_on_device(torch.tensor(2.0**30 + 128), torch.tensor(2**53 - 1))
    assert (big.dtype, one.dtype) == (torch.float64, torch.float64)
    assert (big.item(), one.item()) == (2.0**30 + 128, 2**53 - 1)
    on_meta = parallel.Group(0, 1, torch.device("meta"))
    assert on_meta.sum_on_device(torch.zeros((), device="meta"))[0].is_meta


def test_more_processes_than_gpus_are_refused_with_how_many_there_may_be(monkeypatch):
    monkeypatch.setattr(parallel, "pick_device", lambda rank: torch.device("cuda", rank))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: pytest.fail("there is none"))
    for name, value in {"WORLD_SIZE": 3, "RANK": 2, "LOCAL_RANK": 2}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match=r"--nproc-per-node=2\.$"):
        parallel.join_group()
