"""Where benchmark results are kept: one JSON line per measurement, with machine and versions."""

import datetime
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("xunlian", "torch", "transformers", "accelerate", "tokenizers")


def record(name: str, row: dict[str, Any]) -> None:
    """Append `row` to benchmarks/results/NAME.jsonl."""
    from xunlian.machine.features import read_machine

    machine = read_machine()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    line = {
        "date": datetime.date.today().isoformat(),
        **row,
        "machine": f"{machine.processor}, {machine.cores} cores",
        "features": list(machine.features),
        "versions": {"python": platform.python_version(), **versions},
    }
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
