"""Training throughput beside Transformers' Trainer: the same network, batch and tokens.

    python benchmarks/training_speed.py [--rounds 3] [--steps 8] [--context 256 512]

Each measurement is a process of its own; the sides alternate; medians of all steps after two.
Prints tokens a second and ratios, and appends them to results/training_speed.jsonl.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

from records import record

VOCAB, DEPTH, WIDTH = 4096, 6, 384
BATCH_TOKENS = 8192  # what `xunlian train` takes for a network of this size
SIDES = ("xunlian", "trainer-fp32", "trainer-bf16")


def model_folder(context: int) -> str:
    """The same random network for both sides, as a Hugging Face folder."""
    import torch

    from xunlian.interop.huggingface import write_config, write_weights
    from xunlian.models.decoder import Decoder, DecoderConfig, initialize

    config = DecoderConfig(
        "qwen3", VOCAB, DEPTH, WIDTH, WIDTH // 64, WIDTH // 64, 64, 1024, context, tied=False
    )
    model = Decoder(config)
    initialize(model, torch.Generator().manual_seed(1))
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="xunlian-bench-"))
    write_config(folder, config, 0)
    write_weights(folder / "model.safetensors", model)
    return str(folder)


def time_xunlian(context: int, steps: int, batch_tokens: int) -> list[float]:
    """Seconds of each step, with what `xunlian train` chooses for this machine."""
    import numpy as np
    import torch

    from xunlian.machine.features import read_machine
    from xunlian.recipe.settings import Model, Recipe, Training
    from xunlian.training import decisions
    from xunlian.training.networks import build_model
    from xunlian.training.parallel import Group
    from xunlian.training.setup import build_stepper

    group = Group(0, 1, torch.device("cpu"))
    recipe = Recipe(
        model=Model(depth=DEPTH, width=WIDTH, context=context),
        training=Training(batch_tokens=batch_tokens, budget="1h"),
    )
    recipe = decisions.decide(
        recipe, vocab_size=VOCAB, corpus_tokens=10**8, machine=read_machine(), group=group
    ).recipe
    stepper = build_stepper(recipe, build_model(recipe, VOCAB), group)
    stepper.model.train()
    stepper.compile()
    generator = np.random.default_rng(1)
    times = []
    for _ in range(steps):
        rows = generator.integers(0, VOCAB, (batch_tokens // context, context + 1))
        begun = time.perf_counter()
        stepper.step((rows[:, :-1], rows[:, 1:]), 1.0, 1.0).wait()
        times.append(time.perf_counter() - begun)
    return times


def time_trainer(context: int, steps: int, batch_tokens: int, bf16: bool) -> list[float]:
    """Seconds of each step of `transformers.Trainer` with its defaults."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    model = AutoModelForCausalLM.from_pretrained(model_folder(context))
    data = torch.randint(0, VOCAB, (steps * batch_tokens // context, context))
    examples = [{"input_ids": row, "labels": row} for row in data]
    times: list[float] = []

    class Stopwatch(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.begun = time.perf_counter()

        def on_step_end(self, *_, **__):
            times.append(time.perf_counter() - self.begun)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_tokens // context,
            max_steps=steps,
            bf16=bf16,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=10**6,
            disable_tqdm=True,
        )
        Trainer(model, arguments, train_dataset=examples, callbacks=[Stopwatch()]).train()
    return times


def measure(side: str, context: int, steps: int, batch_tokens: int) -> list[float]:
    """Run one side in a fresh process; seconds of its steps, without the first two."""
    command = [
        sys.executable,
        __file__,
        "--side",
        side,
        "--context",
        str(context),
        "--steps",
        str(steps),
        "--batch-tokens",
        str(batch_tokens),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        context = options.context[0]
        if options.side == "xunlian":
            times = time_xunlian(context, options.steps, options.batch_tokens)
        else:
            times = time_trainer(
                context, options.steps, options.batch_tokens, options.side.endswith("bf16")
            )
        print(json.dumps(times))
        return
    for context in options.context:
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(options.rounds):
            for side in SIDES:
                times[side] += measure(side, context, options.steps, options.batch_tokens)
        speed = {side: options.batch_tokens / statistics.median(t) for side, t in times.items()}
        ratios = {side: speed["xunlian"] / speed[side] for side in SIDES[1:]}
        print(f"context {context}: " + ", ".join(f"{s} {v:,.0f} tok/s" for s, v in speed.items()))
        print("  " + ", ".join(f"{ratio:.2f}x {side}" for side, ratio in ratios.items()))
        record(
            "training_speed",
            {
                "context": context,
                "batch_tokens": options.batch_tokens,
                "network": f"qwen3 {DEPTH}x{WIDTH}, vocabulary {VOCAB}",
                "tokens_per_second": speed,
                "ratio": ratios,
            },
        )


if __name__ == "__main__":
    main()
