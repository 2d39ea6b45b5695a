"""Xunlian: `xunlian train` with a budget in seconds, so that the schedule ends with the time.

One budget gives one point, its last. A row's seconds are those of the whole process up to its last
step, validations on the way included; the last one does not count, as no peer's does, and the
corpus is prepared before.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peers.child import Stopwatch, run, tell, tell_base, tell_peak
from peers.start import facts, gather, start

SOURCE = Path(__file__).resolve().parents[2] / "src"


def version(source: Path = SOURCE) -> str:
    """A digest of our code, so that a change of it is measured anew."""
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.suffix in (".py", ".toml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def prepare(folder: Path, arguments: list[str]) -> Path:
    """The corpus that `xunlian prepare ARGUMENTS` makes; not counted for any side."""
    corpus = folder / "corpus"
    command = [sys.executable, "-m", "xunlian", "prepare", *arguments, "--out", str(corpus)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return corpus


def measure(
    folder: Path,
    corpus: Path,
    recipe: str,
    overrides: list[str],
    budget: str,
    seed: int,
    source: Path = SOURCE,
) -> dict[str, Any]:
    """One training by the Xunlian in the folder `source`."""
    out = folder / f"run-{len(list(folder.glob('run-*')))}"
    settings = [*overrides, f"corpus.path={corpus}"]
    settings += [f"training.budget={budget}", f"training.seed={seed}"]
    arguments = {"recipe": recipe, "overrides": settings, "out": str(out)}
    lines = start("ours", folder, arguments, source=source)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    points = [
        {"seconds": row["seconds"], "tokens": row["tokens"], "loss": row["val_loss"]}
        for row in rows
        if "val_loss" in row
    ]
    told = facts(lines)
    points[-1]["seconds"] -= [fact for fact in told if "validated" in fact][-1]["validated"]
    run_facts = json.loads((out / "run.json").read_text("utf-8"))
    return {
        **gather([*told, *points]),
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
    # As it is called now, and as it was in older checkouts.
    name = next(n for n in ("_validation_means", "_validation_loss") if hasattr(Loop, n))
    summarize, validate = summary.summarize, getattr(Loop, name)

    def tell_and_summarize(*arguments: Any) -> None:
        tell_peak()  # of the training: samples and report come after it
        summarize(*arguments)

    def validate_and_tell(*arguments: Any) -> Any:
        begun = time.perf_counter()
        loss = validate(*arguments)
        tell(validated=time.perf_counter() - begun)
        return loss

    summary.summarize = tell_and_summarize
    setattr(Loop, name, validate_and_tell)
    train(recipe, overrides, out=out, started=Stopwatch().started)
    tell(threads=torch.get_num_threads())


if __name__ == "__main__":
    run(child)
