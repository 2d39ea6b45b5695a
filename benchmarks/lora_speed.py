"""Training an adapter beside `peft` with Transformers' Trainer: the same network, rank and tokens.

    python benchmarks/lora_speed.py [--rounds 3] [--steps 6] [--kind lora] [--texts full dialogues]

A random Qwen3 of 110M parameters with a vocabulary of 32,000, rank 16 in all linear layers, bf16.
`peft` holds the frozen weights in fp32 (what `from_pretrained(folder)` of such a folder gives with
`Trainer(bf16=True)`) and in bf16 (`dtype=torch.bfloat16`, half the memory). Texts are `full` (all
as long as the context) or `dialogues`, whose lengths are those of ../shared/data's customer
support: Trainer pads a batch to its longest text, we pack; only real tokens count. Each measurement
is a process of its own; the sides alternate; medians of all steps after two. What has been measured
is kept in --work, so an interrupted benchmark goes on when it is called again. Prints tokens a
second and ratios, and appends them to results/lora_speed.jsonl. Needs `pip install peft`.
"""

import argparse
import csv
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from records import record

VOCAB, DEPTH, WIDTH, MLP_WIDTH, CONTEXT, RANK = 32_000, 12, 768, 2048, 512, 16
SIDES = ("xunlian", "peft-fp32", "peft-bf16")
WARM_UP = 2
DIALOGUES = Path("../shared/data/dialogue/bitext/customer_support.csv.gz")
BYTES_PER_TOKEN = 4  # of English text in a vocabulary of this size, roughly


def model_folder(folder: Path) -> Path:
    """The same random network for all sides, as a Hugging Face folder, made once."""
    import torch

    from xunlian.interop.huggingface import write_config, write_weights
    from xunlian.models.decoder import Decoder, DecoderConfig, initialize

    if not (folder / "model.safetensors").exists():
        heads = WIDTH // 64
        config = DecoderConfig(
            "qwen3", VOCAB, DEPTH, WIDTH, heads, heads, 64, MLP_WIDTH, CONTEXT, tied=True
        )
        model = Decoder(config)
        initialize(model, torch.Generator().manual_seed(1))
        write_config(folder, config, 0)
        write_weights(folder / "model.safetensors", model)
    return folder


def time_xunlian(base: Path, kind: str, steps: int, batch_tokens: int) -> list[float]:
    """Tokens a second of each step, with what `xunlian train` chooses for this machine."""
    import numpy as np
    import torch

    from xunlian.interop.huggingface import load_model
    from xunlian.machine.features import read_machine
    from xunlian.recipe.adapter import Adapter
    from xunlian.recipe.settings import Model, Recipe, Training
    from xunlian.training import decisions
    from xunlian.training.parallel import Group
    from xunlian.training.setup import add_adapter, build_stepper

    group = Group(0, 1, torch.device("cpu"))
    recipe = Recipe(
        model=Model(depth=DEPTH, width=WIDTH, context=CONTEXT, tied=True, init_from=str(base)),
        adapter=Adapter.model_validate({"kind": kind, "rank": RANK}),
        training=Training(batch_tokens=batch_tokens, budget="1h"),
    )
    recipe = decisions.decide(
        recipe, vocab_size=VOCAB, corpus_tokens=10**8, machine=read_machine(), group=group
    ).recipe
    model = load_model(base)
    add_adapter(model, recipe)
    stepper = build_stepper(recipe, model, group)
    stepper.model.train()
    stepper.compile()
    generator = np.random.default_rng(1)
    speeds = []
    for _ in range(steps):
        rows = generator.integers(0, VOCAB, (batch_tokens // CONTEXT, CONTEXT + 1))
        begun = time.perf_counter()
        stepper.step((rows[:, :-1], rows[:, 1:]), 1.0, 1.0).wait()
        speeds.append(batch_tokens / (time.perf_counter() - begun))
    return speeds


def lengths_of(texts: str, count: int) -> list[int]:
    """Tokens of so many texts, in an order of no meaning."""
    if texts == "full":
        return [CONTEXT] * count
    with gzip.open(DIALOGUES, "rt", encoding="utf-8", newline="") as file:
        rows = [row["instruction"] + row["response"] for row in csv.DictReader(file)]
    random.Random(1).shuffle(rows)
    return [min(CONTEXT, len(text.encode()) // BYTES_PER_TOKEN) for text in rows[:count]]


def time_peft(
    base: Path, kind: str, steps: int, batch_tokens: int, half: bool, texts: str
) -> list[float]:
    """Real tokens a second of each step of `transformers.Trainer` with a PEFT model, as it is."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    dtype = torch.bfloat16 if half else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    settings = peft.LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules="all-linear",
        use_dora=kind == "dora",
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(model, settings)
    sample = lengths_of(texts, 1000)
    per_step = round(batch_tokens / (sum(sample) / len(sample)))
    examples = [torch.randint(0, VOCAB, (n,)) for n in lengths_of(texts, steps * per_step)]
    speeds: list[float] = []
    read: list[int] = []

    def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        read.append(sum(map(len, rows)))
        pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
        return {
            "input_ids": pad(rows),
            "labels": pad(rows, padding_value=-100),
            "attention_mask": pad([torch.ones_like(row) for row in rows]),
        }

    class Stopwatch(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.begun = time.perf_counter()

        def on_step_end(self, *_, **__):
            seconds = time.perf_counter() - self.begun
            speeds.append(read[len(speeds)] / seconds)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=per_step,
            max_steps=steps,
            bf16=True,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=10**6,
            disable_tqdm=True,
        )
        Trainer(
            model,
            arguments,
            train_dataset=examples,
            data_collator=collate,
            callbacks=[Stopwatch()],
        ).train()
    return speeds


def measured(side: str, texts: str, round_: int, options: argparse.Namespace) -> list[float]:
    """Speeds of a side's steps without the first two, in a fresh process, or as kept."""
    name = f"{options.kind}-{texts}-{options.batch_tokens}-{options.steps}-{side}-{round_}.json"
    kept = options.work / name
    if not kept.exists():
        command = [
            sys.executable, __file__, "--side", side, "--kind", options.kind,
            "--steps", str(options.steps), "--batch-tokens", str(options.batch_tokens),
            "--work", str(options.work), "--texts", texts,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        kept.write_text(done.stdout.strip().splitlines()[-1], "utf-8")
    return json.loads(kept.read_text("utf-8"))[WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--kind", choices=("lora", "dora"), default="lora")
    parser.add_argument(
        "--texts", choices=("full", "dialogues"), nargs="+", default=["full", "dialogues"]
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/xunlian-lora-speed"))
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    base = model_folder(options.work / "base")
    if options.side:
        given = (base, options.kind, options.steps, options.batch_tokens)
        if options.side == "xunlian":
            speeds = time_xunlian(*given)
        else:
            half = options.side == "peft-bf16"
            speeds = time_peft(*given, half=half, texts=options.texts[0])
        print(json.dumps(speeds))
        return
    for texts in options.texts:
        compare(texts, options)


def compare(texts: str, options: argparse.Namespace) -> None:
    """All sides on these texts, printed and recorded. Packed rows are full whatever the texts."""
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    for round_ in range(options.rounds):
        for side in SIDES:
            speeds[side] += measured(side, texts, round_, options)
    speed = {side: statistics.median(found) for side, found in speeds.items()}
    ratios = {side: speed["xunlian"] / speed[side] for side in SIDES[1:]}
    print(
        f"{options.kind}, {texts} texts: "
        + ", ".join(f"{s} {v:,.0f} tok/s" for s, v in speed.items())
    )
    print("  " + ", ".join(f"{ratio:.2f}x {side}" for side, ratio in ratios.items()))
    record(
        "lora_speed",
        {
            "kind": options.kind,
            "texts": texts,
            "rank": RANK,
            "context": CONTEXT,
            "batch_tokens": options.batch_tokens,
            "network": f"qwen3 {DEPTH}x{WIDTH}, vocabulary {VOCAB}",
            "rounds": options.rounds,
            "tokens_per_second": speed,
            "ratio": ratios,
        },
    )


if __name__ == "__main__":
    main()
