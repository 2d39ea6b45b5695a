"""How near `xunlian plan` comes to what a training then takes: its time and its memory.

    python benchmarks/planning.py [NAME ...]

Names are those of RECIPES: trainings of a minute or two, of every kind of network. Each is planned
and then trained, in processes of their own; a row goes to results/planning.jsonl. Without names,
all that is not there yet for this machine and these versions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from records import record, recorded_here

NAME = "planning"
WITHIN = 0.15
RECURRENT_PAIRS = "translate-recurrent"
# A recipe and what it changes. Budgets in steps: one in seconds would foretell itself.
RECIPES = {
    "demo-en": ["demo-en", "training.budget=400 steps"],
    "demo-zh": ["demo-zh", "training.budget=300 steps"],
    "shakespeare-6x384": [
        "shakespeare-char",
        "model.depth=6",
        "model.width=384",
        "model.context=256",
        "training.budget=60 steps",
    ],
    "demo-zh-gpt2": ["demo-zh", "model.architecture=gpt2", "training.budget=200 steps"],
    "demo-en-fp32-eager": [
        "demo-en",
        "training.precision=fp32",
        "training.compile=off",
        "training.budget=80 steps",
    ],
    "demo-en-lstm": ["demo-en", "model.family=lstm", "training.budget=200 steps"],
    "demo-zh-gru": ["demo-zh", "model.family=gru", "training.budget=150 steps"],
    "translate-en-zh": ["translate-en-zh", "training.budget=100 steps"],
    "summarize-en": ["summarize-en", "training.budget=40 steps"],
    "translate-lstm": [RECURRENT_PAIRS, "model.family=lstm", "training.budget=60 steps"],
}
# The shipped recipe of these pairs names parts that only a transformer has.
RECURRENT_PAIRS_RECIPE = """
task = "translation"
[corpus]
sources = ["sample:tatoeba.en-zh.tsv.gz"]
source_field = "1"
target_field = "2"
source_language = "en"
target_language = "zh"
[tokenizer]
vocab_size = 8000
[model]
depth = 2
width = 256
context = 128
dropout = 0.3
[training]
batch_tokens = 4096
"""


def xunlian(*arguments: str) -> str:
    """What the command line says on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "xunlian", *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def recipe_file(recipe: str, folder: Path) -> str:
    """A shipped recipe's name, or a file that is written here."""
    if recipe != RECURRENT_PAIRS:
        return recipe
    path = folder / f"{recipe}.toml"
    path.write_text(RECURRENT_PAIRS_RECIPE, "utf-8")
    return str(path)


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Plan a recipe, then train it."""
    recipe, *settings = RECIPES[name]
    file, corpus = recipe_file(recipe, folder), folder / "corpora" / recipe
    if not corpus.exists():
        xunlian("prepare", file, "--out", str(corpus))
    arguments = [file, f"corpus.path={corpus}", *settings]
    (plan,) = json.loads(xunlian("plan", *arguments, "--json"))["plans"]
    run = folder / "runs" / name
    xunlian("train", *arguments, "--out", str(run))
    facts = json.loads((run / "run.json").read_text("utf-8"))
    return row_of(name, plan, facts)


def row_of(name: str, plan: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """A row of the table, from a plan and the run.json of the training.

    `memory_arithmetic` is what `train` foretells before anything has run.
    """
    seconds, memory = plan["seconds"], sum(plan["memory"].values())
    return {
        "recipe": name,
        "settings": RECIPES[name],
        "threads": len(os.sched_getaffinity(0)),
        "steps": plan["steps"],
        "compile": plan["compile"],
        "seconds_planned": seconds,
        "seconds": facts["seconds"],
        "seconds_ratio": seconds / facts["seconds"],
        "memory_planned": memory,
        "memory": facts["memory_measured"],
        "memory_ratio": memory / facts["memory_measured"],
        "memory_arithmetic": sum(facts["memory_predicted"].values()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown; what is further off than 15% is marked."""
    lines = ["| recipe | time planned | taken | memory planned | taken |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{row['seconds_planned']:.0f} s", f"{row['seconds']:.0f} s"]
        cells += [f"{row[key] / 1e6:,.0f} MB" for key in ("memory_planned", "memory")]
        for place, key in ((0, "seconds_ratio"), (2, "memory_ratio")):
            if abs(row[key] - 1) > WITHIN:
                cells[place] += " (!)"
        lines.append(f"| {row['recipe']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    names = parser.parse_args().names
    for name in names:
        if name not in RECIPES:
            raise SystemExit(f"There is no recipe '{name}'. There are: {', '.join(RECIPES)}.")
    done = set() if names else {row["recipe"] for row in recorded_here(NAME)}
    with tempfile.TemporaryDirectory(prefix="xunlian-bench-") as folder:
        for name in names or RECIPES:
            if name in done:
                continue
            row = measure(name, Path(folder))
            print(
                f"{name}: time {row['seconds_ratio']:.2f}, memory {row['memory_ratio']:.2f} of "
                "what it took",
                flush=True,
            )
            record(NAME, row)
    latest = {row["recipe"]: row for row in recorded_here(NAME)}
    print(table([latest[name] for name in RECIPES if name in latest]))


if __name__ == "__main__":
    main()
