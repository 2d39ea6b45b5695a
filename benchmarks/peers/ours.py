"""Xunlian: `xunlian train` with a budget in seconds, so that the schedule ends with the time.

One budget gives one point. A row's seconds are those of the whole process up to its last step,
validations on the way included; the last one does not count, as no peer's does, and the corpus is
prepared before.
"""

import json
import statistics
import subprocess
import sys
import time
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
    told = facts(lines)
    seconds = last["seconds"] - [fact for fact in told if "validated" in fact][-1]["validated"]
    point = {"seconds": seconds, "tokens": last["tokens"], "loss": last["val_loss"]}
    run_facts = json.loads((out / "run.json").read_text("utf-8"))
    return {
        **gather([*told, point]),
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
    from xunlian.training.loop import Loop

    tell_base()
    summarize, validate = summary.summarize, Loop._validation_loss

    def tell_and_summarize(*arguments: Any) -> None:
        tell_peak()  # of the training: samples and report come after it
        summarize(*arguments)

    def validate_and_tell(*arguments: Any) -> float:
        begun = time.perf_counter()
        loss = validate(*arguments)
        tell(validated=time.perf_counter() - begun)
        return loss

    summary.summarize = tell_and_summarize
    Loop._validation_loss = validate_and_tell
    train(recipe, overrides, out=out, started=Stopwatch().started)
    tell(threads=torch.get_num_threads())


if __name__ == "__main__":
    run(child)
