"""Checkpoints are whole, counted, and fall back when damaged."""

import pytest
import torch
from safetensors import SafetensorError

from xunlian import files
from xunlian.errors import InputError, XunlianError
from xunlian.interop import tensors
from xunlian.training.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    mean_weights,
    save_checkpoint,
)


def save(folder, step, keep=2):
    save_checkpoint(
        folder,
        step=step,
        model={"w": torch.full((3,), float(step))},
        optimizer={"w/momentum": torch.zeros(3)},
        state={"note": step},
        keep=keep,
    )


def test_the_last_n_are_kept(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "state"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage, capsys):
    save(tmp_path, 10)
    save(tmp_path, 20)
    file = tmp_path / "step-00000020" / ("state.json" if damage == "state" else "model.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "state":
        file.write_bytes(b"{")
    else:
        data[-1] ^= 1
        file.write_bytes(data)
    model, _, state = load_checkpoint(tmp_path)
    assert state["step"] == 10
    assert model["w"].tolist() == [10, 10, 10]


def test_no_checkpoint_at_all_is_said(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path)


def test_that_every_checkpoint_is_damaged_is_said(tmp_path):
    for step in (10, 20):
        save(tmp_path, step)
        (tmp_path / f"step-{step:08d}" / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"Every checkpoint in '.*' is damaged"):
        load_checkpoint(tmp_path)


def test_a_damaged_checkpoint_is_left_out_of_the_mean(tmp_path, capsys):
    for step in (10, 20, 30):
        save(tmp_path, step, keep=3)
    (tmp_path / "step-00000020" / "model.safetensors").write_bytes(b"")
    for asked in (3, 4):
        mean, found = mean_weights(tmp_path, {"w": torch.full((3,), 50.0)}, 50, asked)
        assert found == 3 and mean["w"].tolist() == [30, 30, 30]
        assert "left out of the mean" in capsys.readouterr().err


def test_a_full_disk_leaves_the_older_checkpoint_and_no_half_one(tmp_path, monkeypatch):
    save(tmp_path, 10)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(XunlianError, match="disk is full") as caught:
        save(tmp_path, 20)
    assert caught.value.exit_status == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]
    assert load_checkpoint(tmp_path)[2]["step"] == 10


def test_a_disk_that_is_full_while_tensors_are_written_leaves_the_older_one(tmp_path, monkeypatch):
    save(tmp_path, 10)

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(XunlianError, match="disk is full"):
        save(tmp_path, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]
