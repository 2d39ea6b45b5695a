"""Xunlian: `xunlian train` with a budget in seconds, so that the schedule ends with the time.

One budget gives one point. A row's seconds are those of the whole process up to its last
validation, the ones on the way included; only the corpus is prepared before.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers.child import Stopwatch, run, tell, tell_base, tell_peak
from peers.start import facts, gather, start


def prepare(folder: Path, arguments: list[str]) -> Path:
    """The corpus that `xunlian prepare ARGUMENTS` makes."""
    corpus = folder / "corpus"
    command = [sys.executable, "-m", "xunlian", "prepare", *arguments, "--out", str(corpus)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return corpus


def measure(
    folder: Path, corpus: Path, recipe: str, overrides: list[str], budget: str, seed: int
) -> dict[str, Any]:
    out = folder / f"run-{len(list(folder.glob('run-*')))}"
    settings = [*overrides, f"corpus.path={corpus}"]
    settings += [f"training.budget={budget}", f"training.seed={seed}"]
    lines = start("ours", folder, {"recipe": recipe, "overrides": settings, "out": str(out)})
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = [row for row in rows if "val_loss" in row][-1]
    point = {"seconds": last["seconds"], "tokens": last["tokens"], "loss": last["val_loss"]}
    run_facts = json.loads((out / "run.json").read_text("utf-8"))
    return {
        **gather([*facts(lines), point]),
        "parameters": run_facts["parameters"],
        "first_step_seconds": rows[0]["seconds"],
        "compile_seconds": run_facts["compile_seconds"],
        # On a slow machine a small budget may end before the first step.
        "tokens_per_second": statistics.median(
            [row["tokens_per_second"] for row in rows if "loss" in row] or [0.0]
        ),
    }


def child(recipe: str, overrides: list[str], out: str) -> None:
    import torch

    import xunlian.training.job  # noqa: F401
    from xunlian.commands.train import train
    from xunlian.training import summary

    tell_base()
    summarize = summary.summarize

    def tell_and_summarize(*arguments: Any) -> None:
        tell_peak()  # of the training: samples and report come after it
        summarize(*arguments)

    summary.summarize = tell_and_summarize
    train(recipe, overrides, out=out, started=Stopwatch().started)
    tell(threads=torch.get_num_threads())


if __name__ == "__main__":
    run(child)
