"""The run folder: everything one training made, and the only thing later commands need.

RUN/recipe.toml  model/  checkpoints/  metrics.jsonl  report.html  run.json
"""

import contextlib
import fcntl
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from xunlian.errors import InputError, did_you_mean
from xunlian.files import atomic_write, os_errors, read_json, write_json, write_text
from xunlian.recipe.load import read_toml, to_toml, validate
from xunlian.recipe.settings import Recipe


@dataclass(frozen=True)
class Run:
    """A run that exists on disk."""

    path: Path
    recipe: Recipe

    @property
    def model_folder(self) -> Path:
        """The Hugging Face folder with the weights to use."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
        if not self.metrics_file.exists():
            return []
        rows = []
        for line in self.metrics_file.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                if isinstance(row := orjson.loads(line), dict):
                    rows.append(row)
        return rows

    def cut_metrics(self, step: int) -> None:
        """Drop the lines after `step`: a run that goes on from there writes them again."""
        with atomic_write(self.metrics_file) as file:
            for row in self.metrics():
                if row["step"] <= step:
                    file.write(orjson.dumps(row) + b"\n")

    def facts(self) -> dict[str, Any]:
        """What training noted about the machine, the corpus and the outcome ('run.json')."""
        path = self.path / "run.json"
        facts = read_json(path) if path.exists() else {}
        if not isinstance(facts, dict):
            raise InputError(f"'{path}' is damaged: it holds no object.")
        return facts

    def write_facts(self, facts: dict[str, Any]) -> None:
        write_json(self.path / "run.json", facts)


def open_run(path: Path | str) -> Run:
    """Raises InputError when `path` is no run."""
    path = Path(path)
    recipe_file = path / "recipe.toml"
    if not recipe_file.is_file():
        names = [p.name for p in path.parent.glob("*") if (p / "recipe.toml").is_file()]
        what = "is not a run folder (it has no recipe.toml)" if path.exists() else "does not exist"
        raise InputError(
            f"'{path}' {what}.{did_you_mean(path.name, names)} `xunlian train` makes one."
        )
    return Run(path, validate(read_toml(recipe_file), str(recipe_file)))


def create_run(path: Path, recipe: Recipe) -> Run:
    """Make a new run folder with its recipe.

    Raises:
        InputError: `path` exists already, or cannot be written.
    """
    if path.exists():
        raise InputError(
            f"The run folder '{path}' exists already. Go on in it with --resume, or "
            "choose another with --out."
        )
    with os_errors(path):
        path.mkdir(parents=True)
    run = Run(path, recipe)
    write_recipe(run)
    return run


def write_recipe(run: Run) -> None:
    write_text(run.path / "recipe.toml", to_toml(run.recipe))


def next_run_path(name: str, parent: Path = Path("runs")) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that does not exist."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def latest_run_path(name: str, parent: Path = Path("runs")) -> Path | None:
    """The last of runs/NAME-1, runs/NAME-2, ... that exists."""
    found = parent.glob(f"{glob.escape(name)}-*")
    runs = [p for p in found if p.name.removeprefix(f"{name}-").isdecimal()]
    return max(runs, key=lambda p: int(p.name.removeprefix(f"{name}-")), default=None)


@contextlib.contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Hold the run for this process.

    Raises:
        InputError: another process trains in it.
    """
    with os_errors(path):
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another process is training in '{path}'. Wait for it, or choose "
                "another folder with --out."
            ) from error
        yield
    finally:
        os.close(handle)
