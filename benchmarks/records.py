"""Where benchmark results are kept: one JSON line per measurement, with machine and versions."""

import datetime
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("xunlian", "torch", "transformers", "accelerate", "tokenizers")


def record(name: str, row: dict[str, Any], folder: Path = RESULTS) -> None:
    """Append `row` to FOLDER/NAME.jsonl."""
    line = {"date": datetime.date.today().isoformat(), **row, **surroundings()}
    folder.mkdir(exist_ok=True)
    with open(folder / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def recorded(name: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What `record` has appended so far."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def recorded_here(name: str) -> list[dict[str, Any]]:
    """Those of the same machine and versions as now."""
    here = surroundings()
    return [row for row in recorded(name) if all(row.get(key) == here[key] for key in here)]


def surroundings() -> dict[str, Any]:
    """The machine and the versions of what is installed."""
    from xunlian.machine.features import read_machine

    machine = read_machine()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "machine": f"{machine.processor}, {machine.cores} cores",
        "features": list(machine.features),
        "versions": {"python": platform.python_version(), **versions},
    }
