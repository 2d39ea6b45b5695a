"""Tokens until a loss: the default recipe beside the same network under a tuned AdamW.

    python benchmarks/tokens_needed.py CORPUS [CORPUS ...] [--size 10m] [--tokens 3000000]
        [--share 0.333] [--rates 0.00075 0.0015 0.003] [--batch 4096] [--seeds 1 2 3]

AdamW gets all the tokens, one rate for everything (the best of --rates by its first seed), a
warm-up, a cosine to a tenth, and steps of --batch tokens. The default recipe gets a share of the
tokens, and must reach the same validation loss; how large its steps are is its own affair, for it
goes by the budget. Both have the same network and corpus. Each training appends its row to
results/tokens_needed.jsonl when it is finished; the same command goes on where it was stopped,
within a training too (the runs are in --work).
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from records import RESULTS, record

NAME = "tokens_needed"
COSINE_FLOOR, COSINE_WARMUP = 0.1, 0.05


def cosine(progress: float, **_: float) -> float:
    """The fraction of the peak rate under AdamW: a warm-up, then half a cosine to a tenth."""
    if progress < COSINE_WARMUP:
        return max(progress / COSINE_WARMUP, 0.01)
    way = (progress - COSINE_WARMUP) / (1 - COSINE_WARMUP)
    return COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * min(1.0, way))) / 2


def train_with_cosine(arguments: list[str]) -> None:
    """`xunlian train` with that schedule, in this process."""
    from xunlian.cli import main as command_line
    from xunlian.training import loop

    loop.rate_factor = cosine
    sys.exit(command_line(["train", *arguments]))


def train(row: dict[str, Any], corpus: Path, work: Path) -> dict[str, Any]:
    """Train one row, or go on with it; `row` with what came out."""
    adamw = row["side"] == "adamw"
    name = "-".join(str(value) for value in row.values())
    run = work / name
    settings = [
        f"corpus.path={corpus}",
        f"model.size={row['size']}",
        f"training.budget={row['tokens']} tokens",
        f"training.seed={row['seed']}",
    ]
    if adamw:
        settings += [
            "training.optimizer=adamw",
            f"training.learning_rate={row['rate']}",
            f"training.batch_tokens={row['batch']}",
            "training.grow_from=0",
        ]
    facts_file = run / "run.json"
    facts = json.loads(facts_file.read_text("utf-8")) if facts_file.exists() else {}
    if not facts.get("finished"):
        started = any((run / "checkpoints").glob("step-*"))
        arguments = [str(run), "--resume"] if started else ["small", "--out", str(run), *settings]
        command = [sys.executable, __file__, "--cosine"] if adamw else [
            sys.executable, "-m", "xunlian", "train",
        ]  # fmt: skip
        done = subprocess.run([*command, *arguments])
        if done.returncode:
            raise SystemExit(f"The training of {run} stopped; the same command goes on.")
        facts = json.loads(facts_file.read_text("utf-8"))
    return {
        **row,
        "val_loss": facts["best_val_loss"],
        "seconds": facts["seconds"],
        "steps": facts["step"],
        "parameters": facts["parameters"],
        "batch_tokens": round(facts["tokens"] / facts["step"]),
    }


def known_rows() -> list[dict[str, Any]]:
    file = RESULTS / f"{NAME}.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def get(row: dict[str, Any], corpus: Path, work: Path) -> dict[str, Any]:
    """The row as it stands in the results, or trained now."""
    for known in known_rows():
        if all(known.get(key) == value for key, value in row.items()):
            return known
    print(f"== {row}", flush=True)
    done = train(row, corpus, work)
    record(NAME, done)
    return done


def measure(corpus: Path, options: argparse.Namespace) -> None:
    """All rows of one corpus; prints what follows from them."""
    common = {"corpus": corpus.name, "size": options.size}
    ours_tokens = round(options.tokens * options.share)
    first, *others = options.seeds

    def adamw(rate: float, seed: int) -> float:
        tuned = {"tokens": options.tokens, "batch": options.batch, "rate": rate}
        row = {"side": "adamw", **common, **tuned, "seed": seed}
        return float(get(row, corpus, options.work)["val_loss"])

    def ours(seed: int) -> float:
        row = {"side": "default", **common, "tokens": ours_tokens, "seed": seed}
        return float(get(row, corpus, options.work)["val_loss"])

    ours_losses = [ours(first)]
    sweep = {rate: adamw(rate, first) for rate in options.rates}
    best = min(sweep, key=lambda rate: sweep[rate])
    if best in (min(options.rates), max(options.rates)) and len(options.rates) > 1:
        print(f"The best rate, {best}, is at the edge of --rates: widen them.")
    adamw_losses = [sweep[best]]
    for seed in others:
        ours_losses.append(ours(seed))
        adamw_losses.append(adamw(best, seed))
    ours_mean, adamw_mean = statistics.mean(ours_losses), statistics.mean(adamw_losses)
    print(
        f"{corpus.name}, {options.size}: AdamW at {best} {adamw_mean:.4f} after "
        f"{options.tokens:,} tokens; the default {ours_mean:.4f} after {ours_tokens:,} "
        f"({len(options.seeds)} seeds): {'reached' if ours_mean <= adamw_mean else 'NOT reached'}",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--cosine"]:
        train_with_cosine(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path, nargs="+", metavar="CORPUS")
    parser.add_argument("--size", default="10m")
    parser.add_argument("--tokens", type=int, default=3_000_000)
    parser.add_argument("--share", type=float, default=1 / 3, help="of the tokens, for ours")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.00075, 0.0015, 0.003])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--batch", type=int, default=4096, help="tokens of a step, for AdamW")
    parser.add_argument("--work", type=Path, default=Path("runs/tokens-needed"))
    options = parser.parse_args()
    for corpus in options.corpora:
        if not (corpus / "corpus.json").exists():
            parser.error(f"No corpus '{corpus}'. Make it: xunlian prepare TEXT --out {corpus}")
    for corpus in options.corpora:
        measure(corpus, options)


if __name__ == "__main__":
    main()
