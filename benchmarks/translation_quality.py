"""BLEU of a recipe on a test set: trains (or goes on, or takes what is finished), then translates.

    python benchmarks/translation_quality.py RECIPE [key=value ...] --run RUN --test SOURCE TARGET

RECIPE is a shipped recipe or a file. The budget is the recipe's, from the start of the process.
Stop it at any time: the next call with the same --run resumes. Appends BLEU and chrF with their
signatures and 95% intervals, and how long it trained on what, to results/translation_quality.jsonl.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from records import record

import xunlian
from xunlian.runs.folder import open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--run", required=True)
    parser.add_argument("--test", nargs="+", required=True, help="source and target, or one file")
    parser.add_argument("--name", help="of the task, for the record; default: the recipe")
    options = parser.parse_intermixed_args()
    train(options.recipe, options.run, options.overrides)
    run = open_run(options.run)
    metrics = ["bleu", "chrf", "rouge"] if run.recipe.task == "summarization" else ["bleu", "chrf"]
    result = xunlian.evaluate(options.run, options.test, metrics=metrics)
    facts, model = run.facts(), run.recipe.model
    print({name: round(value, 2) for name, value in result["scores"].items()})
    record(
        "translation_quality",
        {
            "task": options.name or options.recipe,
            "scores": result["scores"],
            "intervals": result["intervals"],
            "signatures": result["signatures"],
            "baselines": result.get("baselines"),
            "segments": result["segments"],
            "family": model.family,
            "network": f"{model.depth}+{model.decoder_depth or model.depth} layers, width "
            f"{model.width}",
            "parameters": facts["parameters"],
            "val_loss": facts["best_val_loss"],
            "seconds": facts["seconds"],
            "steps": facts["step"],
            "tokens": facts["tokens"],
            "threads": run.recipe.training.threads,
            "beam": run.recipe.decoding.beam,
            "length_penalty": run.recipe.decoding.length_penalty,
            "seed": run.recipe.training.seed,
        },
    )


def train(recipe: str, run: str, overrides: list[str]) -> None:
    """A finished run in the folder `run`, by a process of its own, as a user would."""
    command = [sys.executable, "-m", "xunlian", "train"]
    if not Path(run).exists():
        subprocess.run([*command, recipe, *overrides, "--out", run], check=True)
    elif not open_run(run).facts().get("finished"):
        subprocess.run([*command, run, "--resume"], check=True)


if __name__ == "__main__":
    main()
