"""Fine-tuning on conversations beside TRL's `SFTTrainer`: the same network, tokenizer and texts.

    python benchmarks/sft_speed.py [--rounds 3] [--steps 12] [--conversations FILE] [--trl-python P]

A random Qwen3 of some 28M parameters with a tokenizer learned from the conversations (default: the
customer support in ../shared/data), trained whole in bf16. `xunlian train` packs
conversations into rows of 512 tokens, 4,096 a step. `SFTTrainer` has `packing=False`, its default,
and gets as many conversations a step: eight at a time, its default, accumulated (`trl-8`), or all
at a time (`trl-step`). Only real tokens count, padding does not; the speed is that of the steps
after the first two, start-up and compiling left out. Each measurement is a process of its own; the
sides alternate. What has been measured is kept in --work, so an interrupted benchmark goes on when
it is called again. Prints tokens a second and ratios, and appends them to results/sft_speed.jsonl.
Needs `pip install trl`, in this Python or in --trl-python's.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records import record

DEPTH, WIDTH, MLP_WIDTH, CONTEXT, BATCH_TOKENS = 8, 512, 1536, 512, 4096
SIDES = ("xunlian", "trl-8", "trl-step")
WARM_UP = 2
ROOT = Path(__file__).resolve().parents[1]
CONVERSATIONS = ROOT.parent / "shared/data/dialogue/bitext/customer_support.csv.gz"
SAMPLE = ROOT / "samples/chat.en.jsonl"


def prepare(work: Path, conversations: Path) -> None:
    """Leaves the corpus, the random network with its tokenizer, and the conversations as TRL takes
    them, once."""
    import torch

    import xunlian
    from xunlian.corpus.chat.formats import conversations_of
    from xunlian.interop.huggingface import write_config, write_weights
    from xunlian.models.decoder import Decoder, DecoderConfig, initialize
    from xunlian.shards.corpus import open_corpus

    if (work / "base" / "model.safetensors").exists():
        return
    xunlian.prepare(str(conversations), out=work / "corpus", chat=True, val=0.0)
    corpus = open_corpus(work / "corpus")
    heads = WIDTH // 64
    config = DecoderConfig(
        "qwen3", corpus.vocab_size, DEPTH, WIDTH, heads, heads, 64, MLP_WIDTH, CONTEXT, tied=True
    )
    model = Decoder(config)
    initialize(model, torch.Generator().manual_seed(1))
    base = work / "base"
    base.mkdir()
    for path in [*corpus.path.glob("tokenizer*"), *corpus.path.glob("*.jinja")]:
        (base / path.name).write_bytes(path.read_bytes())
    write_config(base, config, 0)
    write_weights(base / "model.safetensors", model)
    with open(work / "conversations.jsonl", "w", encoding="utf-8") as file:
        for record in records(conversations):
            for turns in conversations_of(record)[1]:
                file.write(json.dumps({"messages": turns}) + "\n")


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Of a .csv or .jsonl file, perhaps .gz."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file) if ".csv" in path.suffixes else map(json.loads, file)


def time_xunlian(work: Path, steps: int) -> float:
    """Real tokens a second of `xunlian train`, with what it chooses for this machine."""
    import xunlian

    with tempfile.TemporaryDirectory() as folder:
        settings = [f"corpus.path={work / 'corpus'}", f"model.init_from={work / 'base'}"]
        settings += ["task=chat", f"model.context={CONTEXT}", f"training.budget={steps} steps"]
        settings += [f"training.batch_tokens={BATCH_TOKENS}", "training.compile=on"]
        settings += [f"training.validate_every={steps}", "training.log_every=1"]
        run = xunlian.train(xunlian.Recipe(), settings, out=Path(folder) / "run")
        rows = [json.loads(line) for line in (run.path / "metrics.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if "loss" in row]
    first, last = rows[WARM_UP - 1], rows[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])


def time_trl(work: Path, steps: int, at_once: int, per_step: int) -> float:
    """Real tokens a second of TRL's `SFTTrainer` as it is, without packing."""
    import datasets
    import transformers
    import trl

    lines = (work / "conversations.jsonl").read_text("utf-8").splitlines()
    rows = datasets.Dataset.from_list([json.loads(line) for line in lines])
    times: list[float] = []
    seen = [0]

    class Stopwatch(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())
            seen.append(seen[-1])

    class Trainer(trl.SFTTrainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            seen[-1] += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *rest, **named)

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder,
            max_length=CONTEXT,
            packing=False,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=per_step // at_once,
            max_steps=steps,
            bf16=True,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=10**6,
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=str(work / "base"), args=arguments, train_dataset=rows, callbacks=[Stopwatch()]
        )
        trainer.train()
    # seen[n] is what had been read after n + 1 steps.
    return (seen[steps - 1] - seen[WARM_UP - 1]) / (times[steps - 1] - times[WARM_UP - 1])


def measured(side: str, round_: int, options: argparse.Namespace) -> float:
    """Tokens a second of a side, in a fresh process, or as kept."""
    kept = options.work / f"{options.steps}-{side}-{round_}.json"
    if not kept.exists():
        python = sys.executable if side == "xunlian" else options.trl_python
        command = [python, __file__, "--side", side, "--steps", str(options.steps)]
        command += ["--work", str(options.work)]
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        kept.write_text(done.stdout.strip().splitlines()[-1], "utf-8")
    return float(json.loads(kept.read_text("utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    default = CONVERSATIONS if CONVERSATIONS.exists() else SAMPLE
    parser.add_argument("--conversations", type=Path, default=default, metavar="FILE")
    parser.add_argument("--trl-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--work", type=Path, default=Path("/tmp/xunlian-sft-speed"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(time_side(options.side, options.work, options.steps)))
        return
    prepare(options.work, options.conversations)
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    for round_ in range(options.rounds):
        for side in SIDES:
            speeds[side].append(measured(side, round_, options))
            print(f"round {round_ + 1}, {side}: {speeds[side][-1]:,.0f} tok/s", flush=True)
    speed = {side: statistics.median(found) for side, found in speeds.items()}
    ratios = {side: speed["xunlian"] / speed[side] for side in SIDES[1:]}
    print(", ".join(f"{ratio:.2f}x {side}" for side, ratio in ratios.items()))
    record(
        "sft_speed",
        {
            "conversations": options.conversations.name,
            "context": CONTEXT,
            "batch_tokens": BATCH_TOKENS,
            "network": f"qwen3 {DEPTH}x{WIDTH}",
            "rounds": options.rounds,
            "steps": options.steps,
            "trl": trl_version(options.trl_python),
            "tokens_per_second": speed,
            "ratio": ratios,
        },
    )


def time_side(side: str, work: Path, steps: int) -> float:
    if side == "xunlian":
        return time_xunlian(work, steps)
    card = json.loads((work / "corpus" / "corpus.json").read_text("utf-8"))["splits"]["train"]
    per_step = round(BATCH_TOKENS * card["documents"] / card["tokens"] / 8) * 8
    return time_trl(work, steps, 8 if side == "trl-8" else per_step, per_step)


def trl_version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('trl'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
