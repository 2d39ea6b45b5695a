"""Tiny Shakespeare by characters: the validation loss that a budget of two minutes reaches.

    python benchmarks/shakespeare.py [--seeds 1 2 3] [key=value ...]

Two kinds of two minutes, each a process of its own: `budget` counts from the start of the process,
with imports, decisions and compilation; `steps` gives the steps alone two minutes, by adding what
the first kind spent before its first step. The split is nanoGPT's: the last tenth is held out. A
line for each is appended to results/shakespeare.jsonl.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from records import record

SECONDS = 120
RECIPE = "shakespeare-char"


def train(folder: Path, name: str, seed: int, seconds: float, overrides: list[str]) -> Path:
    """Train in a process of its own, as a user would; returns the run."""
    out = folder / f"{name}-{seed}"
    command = [sys.executable, "-m", "xunlian", "train", RECIPE, "--out", str(out)]
    settings = [f"training.budget={seconds:.0f}s", f"training.seed={seed}", *overrides]
    done = subprocess.run([*command, *settings], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return out


def first_step_seconds(run: Path) -> float:
    """What the run spent from the start of its process to its first step."""
    first = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    return first["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xunlian-bench-") as name:
        folder = Path(name)
        corpus = folder / "corpora" / RECIPE
        command = [sys.executable, "-m", "xunlian", "prepare", RECIPE, "--out", str(corpus)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        for seed in options.seeds:
            before = 0.0
            for kind in ("budget", "steps"):
                run = train(folder, kind, seed, SECONDS + before, options.overrides)
                before = first_step_seconds(run)
                facts = json.loads((run / "run.json").read_text("utf-8"))
                loss = facts["best_val_loss"]
                print(
                    f"seed {seed}, two minutes of {kind}: validation loss {loss:.4f} nats "
                    f"({facts['step']} steps, {facts['tokens']:,} tokens, first step after "
                    f"{before:.1f} s)",
                    flush=True,
                )
                record(
                    "shakespeare",
                    {
                        "two_minutes_of": kind,
                        "seed": seed,
                        "overrides": options.overrides,
                        "val_loss": loss,
                        "seconds": facts["seconds"],
                        "seconds_before_first_step": before,
                        "steps": facts["step"],
                        "tokens": facts["tokens"],
                        "parameters": facts["parameters"],
                    },
                )


if __name__ == "__main__":
    main()
