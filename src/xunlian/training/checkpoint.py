"""Checkpoints: all that an exact resume needs, as safetensors and JSON, never half a one.

    checkpoints/step-00000200/  model.safetensors  optimizer.safetensors  state.json

A checkpoint is a folder written beside and renamed. `state.json` holds the checksums of the other
two; a checkpoint that does not match its checksums is passed over for the one before it.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from xunlian.console import warn
from xunlian.errors import InputError, XunlianError
from xunlian.files import atomic_folder, read_json, sha256, write_json
from xunlian.interop.tensors import write_tensors

TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint of `step` and remove all but the last `keep`.

    Raises:
        XunlianError: the disk is full; older checkpoints are intact.
    """
    path = folder / _name(step)
    with atomic_folder(path, replace=True) as part:
        for name, tensors in zip(TENSOR_FILES, (model, optimizer), strict=True):
            on_host = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            write_tensors(part / name, on_host)
        checksums = {name: sha256(part / name) for name in TENSOR_FILES}
        write_json(part / "state.json", {**state, "step": step, "checksums": checksums})
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir())


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Model tensors, optimizer tensors and state of the newest undamaged checkpoint.

    Raises:
        InputError: there is none.
    """
    found = list_checkpoints(folder)
    if not found:
        raise InputError(
            f"There is no checkpoint in '{folder}' to go on from. Remove '{folder.parent}' and "
            "start anew without --resume, or, if it has weights already, start another run with "
            f"model.init_from={folder.parent}."
        )
    for path in reversed(found):
        try:
            return _load(path)
        except (XunlianError, OSError, SafetensorError, KeyError, TypeError) as error:
            warn(f"The checkpoint '{path}' is damaged ({error}); trying the one before it.")
    raise InputError(f"Every checkpoint in '{folder}' is damaged; start anew in another folder.")


def mean_weights(
    folder: Path, newest: dict[str, Tensor], step: int, count: int
) -> tuple[dict[str, Tensor], int]:
    """The mean of `newest`, the model tensors of `step`, and those of the `count` - 1 undamaged
    checkpoints before it (arXiv 1706.03762, section 6.1), and of how many it is. One at a time is
    in memory, beside the sum in fp32.
    """
    total = {name: tensor.float().cpu() for name, tensor in newest.items()}
    before = [path for path in list_checkpoints(folder) if path.name < _name(step)]
    found = 1
    for path in reversed(before):
        if found == count:
            break
        try:
            weights = _load_tensors(path, TENSOR_FILES[0])
        except (XunlianError, OSError, SafetensorError, KeyError, TypeError) as error:
            warn(f"The checkpoint '{path}' is damaged ({error}) and left out of the mean.")
            continue
        for name, tensor in weights.items():
            total[name] = total[name] + tensor.float()
        found += 1
    return {name: tensor / found for name, tensor in total.items()}, found


def random_state(device: torch.device) -> dict[str, list[int]]:
    """The state of the random number generators, as plain numbers."""
    state = {"cpu": torch.get_rng_state().tolist()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).tolist()
    return state


def restore_random_state(state: dict[str, list[int]], device: torch.device) -> None:
    torch.set_rng_state(torch.tensor(state["cpu"], dtype=torch.uint8))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8), device)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    model, optimizer = (_load_tensors(path, name) for name in TENSOR_FILES)
    return model, optimizer, read_json(path / "state.json")


def _load_tensors(path: Path, name: str) -> dict[str, Tensor]:
    if sha256(path / name) != read_json(path / "state.json")["checksums"][name]:
        raise InputError(f"'{name}' does not match its checksum")
    return load_file(path / name)


def _name(step: int) -> str:
    return f"step-{step:08d}"
