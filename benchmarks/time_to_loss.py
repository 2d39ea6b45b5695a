"""Seconds until a validation loss, start-up and compiling included: Xunlian beside its peers.

    python benchmarks/time_to_loss.py [TASK] [--nanogpt PATH] [--seeds 1 2 3] [--only SIDE ...]

A peer trains for a fixed number of steps; Xunlian then gets one budget in seconds after another
until one ends at the peer's loss or below. Each side is a process of its own that finds no compiled
code. What is measured is appended to results/time_to_loss.jsonl at once, and is not measured again
on the same machine with the same versions, so a run that was stopped goes on; --again starts anew.
Peers that are not there are left out, and how to get them is said. Then come the table of ratios
and the picture, docs/time-to-loss.png.

--smoke runs every side for a few steps, to see that all of it works; it leaves no results.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from peers import chinese, litgpt, nanogpt, ours, picture, trainer
from peers.bench import Bench
from peers.ratios import Goal, table
from peers.start import Failed
from records import RESULTS

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "nanogpt": "nanoGPT as it is",
    "nanogpt-tuned": "nanoGPT in bf16, compiled, best rate",
    "nanogpt-a100": "nanoGPT's README, one A100, 3 minutes",
    "trainer": "Transformers' Trainer in bf16",
    "trainer-tuned": "Transformers' Trainer in bf16, best rate",
    "litgpt": "litgpt pretrain",
    "before": "Xunlian as it was",
    "xunlian": "Xunlian, our size",
    "xunlian-same": "Xunlian, same size",
}
TITLES = {
    "shakespeare": "Tiny Shakespeare by characters",
    "chinese": "14M parameters, Chinese text",
}
GOALS = {
    "shakespeare": (
        Goal("nanogpt", "xunlian", times=20),
        Goal("nanogpt", "xunlian-same", times=12),
        Goal("nanogpt-tuned", "xunlian-same", times=2.5),
        Goal("nanogpt-a100", "xunlian", loss=1.4697, seconds=300),
    ),
    "chinese": (
        Goal("trainer", "xunlian-same", times=5),
        Goal("trainer-tuned", "xunlian-same", times=3),
        Goal("litgpt", "xunlian-same", times=4, times_speed=1.5),
        Goal("before", "xunlian-same", times=1.4),
    ),
}
SHAKESPEARE = "shakespeare-char"
NANOGPT_SIZE = ["model.depth=6", "model.width=384", "model.context=256"]
BUDGETS = (15, 20, 25, 30, 40, 50, 60, 75, 90, 120, 150, 180, 240, 300, 400, 500, 600, 900)


def shakespeare(bench: Bench, folder: Path) -> None:
    from xunlian.recipe.samples import resolve_source

    options = bench.options
    text = Path(resolve_source("sample:shakespeare.txt")).read_text("utf-8")
    steps, batch, eval_iters = 500, 16, 20
    if options.smoke:
        text, steps, batch, eval_iters = text[:50_000], 10, 2, 1
    if options.nanogpt:
        copy = nanogpt.prepare(options.nanogpt, text, folder)
        version = f"{nanogpt.version(options.nanogpt)}, torch {bench.around['versions']['torch']}"
        if bench.wants("nanogpt"):
            run = lambda: nanogpt.measure(copy, steps, batch, eval_iters)  # noqa: E731
            bench.measure("nanogpt", version, {"steps": steps}, 1337, run)
        if bench.wants("nanogpt-tuned"):
            for rate in options.rates or (1e-3, 2e-3, 4e-3):
                run = lambda rate=rate: nanogpt.measure_tuned(copy, steps, batch, rate)  # noqa: E731
                settings = {"steps": steps, "rate": rate}
                bench.measure("nanogpt-tuned", version, settings, 1337, run)
    else:
        print(f"nanoGPT is left out. To get it: {nanogpt.HOW_TO_GET}")
    corpus = ours.prepare(folder, [SHAKESPEARE])
    for side, overrides in (("xunlian-same", NANOGPT_SIZE), ("xunlian", [])):
        if bench.wants(side):
            bench.ours(side, corpus, folder, SHAKESPEARE, [*overrides, *options.set])


def chinese_text(bench: Bench, folder: Path) -> None:
    options, texts = bench.options, [str(path.resolve()) for path in bench.options.text]
    if not texts:
        print("Left out, because no text is named: --text FILE ..., 15 MB of Chinese or more")
        return
    steps, val = 3_000_000 // chinese.BATCH_TOKENS, "0.03"
    if options.smoke:
        texts, steps, val = texts[:1], 6, "0.003"
    # All text for the tokenizer, so that it does not depend on how a sample is taken.
    settings = ["--vocab-size", str(chinese.VOCAB), "--val", val]
    corpus = ours.prepare(folder, [*texts, *settings, "tokenizer.sample_bytes=1000000000"])
    data = bench.corpus = _tokens_of(corpus)
    same = {"corpus": data, "steps": steps}
    versions = bench.around["versions"]
    if "transformers" in versions and "accelerate" in versions:
        version = f"{versions['transformers']}, torch {versions['torch']}"
        if bench.wants("trainer"):
            run = lambda: trainer.measure(folder, corpus, steps, None)  # noqa: E731
            bench.measure("trainer", version, same, 42, run)
        if bench.wants("trainer-tuned"):
            for rate in options.rates or (1e-3, 3e-3):
                run = lambda rate=rate: trainer.measure(folder, corpus, steps, rate)  # noqa: E731
                bench.measure("trainer-tuned", version, {**same, "rate": rate}, 42, run)
    else:
        print(f"The Trainer is left out. To get it: {trainer.HOW_TO_GET}")
    if python := options.litgpt_python:
        if bench.wants("litgpt"):
            run = lambda: litgpt.measure(folder, corpus, steps, python)  # noqa: E731
            bench.measure("litgpt", litgpt.version(python), same, 42, run)
    else:
        print(f"litgpt is left out. To get it: {litgpt.HOW_TO_GET}")
    overrides = [*chinese.OURS, *options.set]
    if options.before and bench.wants("before"):
        source = options.before.resolve() / "src"
        tokens = f"{steps * chinese.BATCH_TOKENS} tokens"
        run = lambda: ours.measure(  # noqa: E731
            folder, corpus, "small", overrides, tokens, 1, source
        )
        version = f"{ours.version(source)}, torch {versions['torch']}"
        bench.measure("before", version, {**same, "overrides": overrides}, 1, run)
    if bench.wants("xunlian-same"):
        bench.ours("xunlian-same", corpus, folder, "small", overrides, data)


def _tokens_of(corpus: Path) -> str:
    """A digest of the corpus's tokens, whatever else its card says."""
    splits = json.loads((corpus / "corpus.json").read_text("utf-8"))["splits"]
    shards = [shard["bin_sha256"] for split in splits.values() for shard in split["shards"]]
    return hashlib.sha256("\n".join(shards).encode()).hexdigest()[:12]


TASKS = {"shakespeare": shakespeare, "chinese": chinese_text}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of: {', '.join(TASKS)}")
    parser.add_argument(
        "--nanogpt",
        type=Path,
        default=os.environ.get("NANOGPT"),
        metavar="PATH",
        help="a checkout of nanoGPT; default: the environment's NANOGPT",
    )
    parser.add_argument(
        "--litgpt-python",
        type=Path,
        default=os.environ.get("LITGPT_PYTHON"),
        metavar="PATH",
        help="a Python that has litgpt; default: the environment's LITGPT_PYTHON",
    )
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        default=[Path(name) for name in os.environ.get("CHINESE_TEXT", "").split()],
        metavar="FILE",
        help="Chinese text; default: the environment's CHINESE_TEXT",
    )
    parser.add_argument(
        "--before", type=Path, metavar="PATH", help="an older checkout of Xunlian, beside this one"
    )
    parser.add_argument("--rates", type=float, nargs="+", help="rates that a peer is tuned with")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, metavar="SECONDS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="ours")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="SIDE", help="run only these")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="settings, ours")
    parser.add_argument("--again", action="store_true", help="measure what is on file once more")
    parser.add_argument("--smoke", action="store_true", help="a few steps each; no results")
    options = parser.parse_args()
    tasks = options.tasks or list(TASKS)
    for task in tasks:
        if task not in TASKS:
            parser.error(f"there is no task '{task}'; there are: {', '.join(TASKS)}")
    if options.nanogpt and not (options.nanogpt / "train.py").is_file():
        parser.error(f"'{options.nanogpt}' has no train.py; {nanogpt.HOW_TO_GET}")
    if options.before and not (options.before / "src" / "xunlian").is_dir():
        parser.error(f"'{options.before}' (--before) has no src/xunlian")
    for path in options.text:
        if not path.exists():
            parser.error(f"there is no '{path}' (--text)")
    if options.litgpt_python:
        # Not resolved: a virtual environment's Python is a link to the one it was made with.
        options.litgpt_python = options.litgpt_python.absolute()
        try:
            litgpt.version(options.litgpt_python)
        except (Failed, OSError) as problem:
            parser.error(str(problem))
    results, drawing = RESULTS, ROOT / "docs" / "time-to-loss.png"
    if options.smoke:
        results = Path(tempfile.mkdtemp(prefix="time-to-loss-"))
        drawing, options.budgets = results / "time-to-loss.png", (30, 60)
    benches = {task: Bench(task, GOALS[task], NAMES, options, results) for task in TASKS}
    for task in tasks:
        print(TITLES[task], flush=True)
        with tempfile.TemporaryDirectory(prefix="time-to-loss-") as folder:
            TASKS[task](benches[task], Path(folder))
        print(f"\n{table(GOALS[task], benches[task].rows(), NAMES)}\n", flush=True)
    panels = [(TITLES[task], rows) for task, bench in benches.items() if (rows := bench.rows())]
    if panels:
        goals = [goal for of_task in GOALS.values() for goal in of_task]
        picture.draw(panels, goals, NAMES, drawing)
        print(f"Picture: {drawing}")
    sys.exit(int(any(bench.failed for bench in benches.values())))


if __name__ == "__main__":
    main()
