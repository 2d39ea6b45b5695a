"""What `xunlian tune` found to be fastest here, kept for `train` in one JSON file of the user.

An entry is for one network on one machine with one version of PyTorch; for others it says nothing.
"""

import os
from pathlib import Path
from typing import Any

import orjson
import torch

from xunlian.console import warn
from xunlian.files import atomic_write
from xunlian.machine.features import Machine
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import Recipe


def profile_path() -> Path:
    """Of what was tuned here."""
    return cache_folder() / "tuned.json"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/xunlian, by default in ~/.cache: what can be found again."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xunlian"


def profile_key(machine: Machine, recipe: Recipe, vocab_size: int, device: str) -> str:
    """All of a resolved recipe and its machine that decides how fast a step is, beside what is
    tuned."""
    model = recipe.model
    parts = {
        "task": recipe.task,
        "processor": machine.processor,
        "cores": machine.cores,
        "device": device,
        "torch": torch.__version__,
        "context": model.context,
        "vocab_size": vocab_size,
        "family": model.family,
        "architecture": model.architecture,
        **vars(shape_of(model)),
    }
    return ", ".join(f"{name}={value}" for name, value in parts.items() if value is not None)


def tuned_settings(key: str) -> dict[str, Any]:
    """Settings of the [training] table that were fastest, and `gain` over the defaults; or {}."""
    found = _read().get(key, {})
    return found if isinstance(found, dict) else {}


def keep_tuned(key: str, settings: dict[str, Any]) -> None:
    with atomic_write(profile_path()) as file:
        file.write(orjson.dumps({**_read(), key: settings}, option=orjson.OPT_INDENT_2))


def _read() -> dict[str, Any]:
    path = profile_path()
    try:
        profile = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        warn(f"The machine profile '{path}' cannot be read ({error}); defaults are used.")
        return {}
    return profile if isinstance(profile, dict) else {}
