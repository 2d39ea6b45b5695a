"""What is each architecture worth? The same corpus, parameters and time for every family.

This is the story of `xunlian compare`: each family trains as `xunlian train` would train it, alone,
in a run folder of its own; then all are measured alike, and one table and one picture stand beside
the runs. Whatever is finished is kept, so a comparison that was stopped goes on where it was.

    FOLDER/
      comparison.toml       what is compared: the recipe with its corpus and budget
      recipes/rnn-1.toml    the recipe of each run
      rnn-1/ gru-1/ ...     the runs
      probe.json            what the copy probe found
      compare.json .html .png
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import xunlian
from xunlian.console import progress, say
from xunlian.errors import InputError
from xunlian.evaluation.evaluate_pairs import evaluate_pairs
from xunlian.files import read_json, write_json, write_text
from xunlian.machine.features import available_cores
from xunlian.recipe.budget import Budget, parse_budget
from xunlian.recipe.load import to_toml
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.report.charts import columns, smoothed
from xunlian.runs.folder import Run, lock_run, open_run
from xunlian.runs.load import load_run
from xunlian.shards.corpus import Corpus
from xunlian.studies import probe as probes
from xunlian.studies.equal import equal_recipes
from xunlian.studies.folder import claim_folder, train_once
from xunlian.studies.positions import pair_positions, text_positions
from xunlian.training.summary import val_scores

PROBE_STEPS_A_SECOND = 1.5  # of a budget in time; the probes take about a fifth of it on top
FEWEST_PROBE_STEPS, PROBE_STEPS = 50, 600  # PROBE_STEPS also with any other budget
SHORTEST = 10.0  # seconds; starting alone takes some
MOST_POINTS = 100  # of a training curve
POSITION_TOKENS = 1 << 20  # are enough for a loss by position


def parse_whole_budget(recipe: Recipe, budget: str | None) -> tuple[Recipe, Budget]:
    """The recipe with the budget that each family gets.

    Raises:
        InputError: there is none, or it is none, or too short to start in.
    """
    text = budget or recipe.training.budget
    if text is None:
        raise InputError("Say how long each family trains, for example --budget 5min.")
    try:
        parsed = parse_budget(text)
    except ValueError as error:
        raise InputError(f"--budget: {error}.") from error
    if parsed.unit == "seconds" and parsed.amount < SHORTEST:
        raise InputError(
            f"--budget {text} is over before a training has started. Give at least "
            f"{SHORTEST:.0f}s; minutes tell more."
        )
    training = recipe.training.model_copy(update={"budget": text})
    return recipe.model_copy(update={"training": training}), parsed


def compare_families(
    recipe: Recipe,
    name: str,
    corpus: Corpus,
    families: Sequence[str],
    out: Path,
    *,
    seeds: int = 1,
    probe: bool = True,
) -> dict[str, Any]:
    """Train, measure and write all of a comparison; as `xunlian.compare` returns it.

    Args:
        recipe: with corpus.path and training.budget.
        name: that of the recipe.

    Raises:
        InputError: the folder holds another comparison, or a family cannot have the size.
        Interrupted: stopped; the same call goes on.
    """
    budget = parse_budget(recipe.training.budget or "")
    plan = equal_recipes(recipe, families, corpus.vocab_size)
    claim_folder(
        out,
        "comparison",
        recipe,
        "Choose another folder with --out, or leave the recipe as it was.",
    )
    with lock_run(out):
        for family, (_, parameters) in plan.items():
            say(f"{family}: {parameters:,} parameters")
        first = recipe.training.seed
        paths = []
        for seed in range(first, first + seeds):
            for family, (equal, _) in plan.items():
                path = out / f"{family}-{seed}"
                say(f"\n{path}")
                train_once(path, _with_seed(equal, seed), out / "recipes")
                paths.append((family, seed, path))
        found = _probes(families, budget, first, out / "probe.json") if probe else []
        say("\nMeasuring ...")
        result = {
            "recipe": name,
            "about": recipe.about,
            "task": recipe.task,
            "corpus": str(corpus.path),
            "vocab_size": corpus.vocab_size,
            "budget": recipe.training.budget,
            "context": recipe.model.context,
            "families": list(families),
            "seeds": seeds,
            "runs": [
                {"family": family, "seed": seed, **measure(open_run(path), corpus)}
                for family, seed, path in paths
            ],
            "probe": found,
            "folder": str(out),
            "made_with": f"Xunlian 迅练 {xunlian.__version__}",
        }
        _write(out, result, recipe)
    return result


def measure(run: Run, corpus: Corpus) -> dict[str, Any]:
    """What a finished run cost and what it can do."""
    facts, recipe = run.facts(), run.recipe
    metrics = run.metrics()
    _, speeds = columns(metrics, "step", "tokens_per_second")
    torch.set_num_threads(recipe.training.threads or available_cores())
    loaded = load_run(run.path)
    model = loaded.model.eval()
    dtype = torch.float32 if recipe.training.precision == "fp32" else torch.bfloat16
    context = recipe.model.context
    scores = val_scores(facts.get("best_val_loss"), corpus)
    shown: dict[str, Any] = {
        "run": str(run.path),
        "parameters": facts["parameters"],
        "depth": recipe.model.depth,
        "width": recipe.model.width,
        "steps": facts["step"],
        "tokens": facts["tokens"],
        "seconds": facts["seconds"],
        "compile_seconds": facts["compile_seconds"],
        "tokens_per_second": float(sorted(speeds)[len(speeds) // 2]) if len(speeds) else None,
        "batch_tokens": recipe.training.batch_tokens,
        "precision": recipe.training.precision,
        "compile": recipe.training.compile,
        "curve": [
            {key: row[key] for key in ("step", "tokens", "seconds", "val_loss")}
            for row in metrics
            if "val_loss" in row
        ],
        "training_curve": _training_curve(metrics),
    }
    if not scores:
        return {**shown, "scores": {}, "by_position": [], "by_source_length": []}
    by_length: list[Any] = []
    if recipe.task in PAIR_TASKS:
        source, target = (corpus.stream("val", column) for column in ("source", "target"))
        by_place, by_length = pair_positions(model, source, target, context, corpus.start_id, dtype)
        found = evaluate_pairs(
            recipe, loaded, [str(corpus.path)], metrics=(), bootstrap=0, output=None
        )
        scores = {**found["scores"], **scores}
        shown["signatures"] = found["signatures"]
    else:
        by_place = text_positions(model, corpus.stream("val"), context, dtype, POSITION_TOKENS)
        nats = sum(bucket.loss * bucket.tokens for bucket in by_place)
        scores["fresh_loss"] = nats / sum(bucket.tokens for bucket in by_place)
    return {
        **shown,
        "scores": scores,
        "by_position": [asdict(bucket) for bucket in by_place],
        "by_source_length": [asdict(bucket) for bucket in by_length],
    }


def _with_seed(recipe: Recipe, seed: int) -> Recipe:
    training = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"training": training})


def _probes(families: Sequence[str], budget: Budget, seed: int, file: Path) -> list[dict[str, Any]]:
    """The probe of each family; those that are there already are kept."""
    # In steps: all see the same rows, and the same seed gives the same result.
    steps = PROBE_STEPS
    if budget.unit == "seconds":
        asked = round(PROBE_STEPS_A_SECOND * budget.amount)
        steps = min(PROBE_STEPS, max(FEWEST_PROBE_STEPS, asked))
    setup = {
        "steps": steps,
        "seed": seed,
        "symbols": probes.SYMBOLS,
        "survives": probes.SURVIVES,
    }
    known = read_json(file) if file.exists() else {}
    found = known.get("families", {}) if known.get("setup") == setup else {}
    missing = [family for family in families if family not in found]
    if missing:
        say(f"\nCopy probe, {steps} steps for each family")
        torch.set_num_threads(available_cores())
    with progress() as bar:
        tasks = {family: bar.add_task(f"probe {family}", total=1.0) for family in missing}
        for one in probes.probe_families(
            missing,
            Budget(steps, "steps"),
            seed=seed,
            size=probes.SIZE,
            distances=probes.DISTANCES,
            progress=lambda family, done, loss: bar.update(tasks[family], completed=done),
        ):
            bar.update(tasks[one.family], completed=1.0)
            accuracy = {str(distance): share for distance, share in one.accuracy.items()}
            found[one.family] = {**asdict(one), "accuracy": accuracy, "reach": one.reach, **setup}
            write_json(file, {"setup": setup, "families": found})
    return [found[family] for family in families]


def _training_curve(metrics: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The smoothed training loss at so many points."""
    tokens, losses = columns(metrics, "tokens", "loss")
    seconds, _ = columns(metrics, "seconds", "loss")
    if not len(losses):
        return []
    smooth = smoothed(losses)
    every = -(-len(losses) // MOST_POINTS)
    chosen = sorted({*range(0, len(losses), every), len(losses) - 1})
    return [
        {"tokens": int(tokens[i]), "seconds": float(seconds[i]), "loss": float(smooth[i])}
        for i in chosen
    ]


def _write(out: Path, result: dict[str, Any], recipe: Recipe) -> None:
    from xunlian.report.comparison import draw_png, render_comparison

    write_json(out / "compare.json", result)
    write_text(out / "compare.html", render_comparison(result, to_toml(recipe)))
    draw_png(result, out / "compare.png")
