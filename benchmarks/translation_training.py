"""Training speed on pairs beside the padded Transformer of the tutorials and Seq2SeqTrainer.

    python benchmarks/translation_training.py CORPUS [--rounds 3] [--steps 6]

CORPUS is a corpus of pairs (Multi30k for the figures in docs/bench.md). All sides have 4 + 4 layers
of width 256 and see the same tokenized pairs: ours packed as `xunlian train` packs them, the
others 128 random pairs a batch, padded. Each measurement is a process of its own; the sides
alternate; medians of the steps after the first two. Appends pairs a second and ratios to
results/translation_training.jsonl.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from records import record

DEPTH, WIDTH, HEADS, MLP_WIDTH = 4, 256, 4, 1024
BATCH = 128
SIDES = ("xunlian", "tutorial-fp32", "tutorial-bf16", "trainer-fp32", "trainer-bf16")


def time_xunlian(corpus_path: str, steps: int, batch_tokens: int) -> list[float]:
    """Seconds a pair in each step, with what `xunlian train` would choose, compiled."""
    import torch

    from xunlian.machine.features import read_machine
    from xunlian.recipe.load import load_recipe
    from xunlian.recipe.settings import Recipe
    from xunlian.shards.corpus import open_corpus
    from xunlian.training import decisions
    from xunlian.training.networks import build_model
    from xunlian.training.objectives import objective_of
    from xunlian.training.parallel import Group
    from xunlian.training.setup import build_stepper

    corpus = open_corpus(corpus_path)
    settings = {
        "task": "translation",
        "model.depth": DEPTH,
        "model.width": WIDTH,
        "model.heads": HEADS,
        "model.mlp_width": MLP_WIDTH,
        "model.context": 64,
        "model.dropout": 0.1,
        "training.batch_tokens": batch_tokens,
        "training.budget": "1000 steps",
    }
    recipe = load_recipe(Recipe(), [f"{key}={value}" for key, value in settings.items()])
    group = Group(0, 1, torch.device("cpu"))
    recipe = decisions.decide(
        recipe,
        vocab_size=corpus.vocab_size,
        corpus_tokens=corpus.tokens("train", "target"),
        machine=read_machine(),
        group=group,
    ).recipe
    rows = objective_of(recipe, corpus).rows
    stepper = build_stepper(recipe, build_model(recipe, corpus.vocab_size), group)
    stepper.model.train()
    stepper.compile()
    count = batch_tokens // rows.context
    times = []
    for step in range(steps):
        begun = time.perf_counter()
        batch = rows.read(step * count, count)
        stepper.step(batch, 1.0, 1.0).wait()
        pairs = (batch[4] == corpus.end_id).sum()
        times.append((time.perf_counter() - begun) / float(pairs))
    return times


def random_pairs(corpus_path: str, count: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Tokens of `count` random pairs, and the size of the vocabulary."""
    from xunlian.shards.corpus import open_corpus

    corpus = open_corpus(corpus_path)
    columns = [corpus.stream("train", column) for column in ("source", "target")]
    total = columns[0].document_count
    bounds = [column.bounds(0, total) for column in columns]
    chosen = np.random.default_rng(1).integers(0, total, count)
    sources, targets = (
        [column.read(bound[i], bound[i + 1]) for i in chosen]
        for column, bound in zip(columns, bounds, strict=True)
    )
    return sources, targets, corpus.vocab_size


def time_tutorial(corpus_path: str, steps: int, bf16: bool) -> list[float]:
    """The translation tutorial's loop: nn.Transformer, padding, masks, Adam."""
    import math

    import torch
    from torch import nn

    sources, targets, vocab_size = random_pairs(corpus_path, steps * BATCH)
    pad = vocab_size

    class Seq2Seq(nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = nn.Transformer(
                WIDTH, HEADS, DEPTH, DEPTH, MLP_WIDTH, dropout=0.1, batch_first=True
            )
            self.source = nn.Embedding(vocab_size + 1, WIDTH)
            self.target = nn.Embedding(vocab_size + 1, WIDTH)
            self.generator = nn.Linear(WIDTH, vocab_size + 1)
            self.dropout = nn.Dropout(0.1)
            rates = torch.exp(-torch.arange(0, WIDTH, 2) * math.log(10000) / WIDTH)
            angles = torch.arange(512).unsqueeze(1) * rates
            places = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
            self.register_buffer("places", places)

        def embed(self, table, tokens):
            scaled = table(tokens) * math.sqrt(WIDTH)
            return self.dropout(scaled + self.places[: tokens.shape[1]])

        def forward(self, source, target):
            later = nn.Transformer.generate_square_subsequent_mask(target.shape[1]) < 0
            out = self.transformer(
                self.embed(self.source, source),
                self.embed(self.target, target),
                tgt_mask=later,
                src_key_padding_mask=source == pad,
                tgt_key_padding_mask=target == pad,
                memory_key_padding_mask=source == pad,
            )
            return self.generator(out)

    model = Seq2Seq().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
    loss_function = nn.CrossEntropyLoss(ignore_index=pad)
    times = []
    for first in range(0, steps * BATCH, BATCH):
        begun = time.perf_counter()
        source, target = (
            nn.utils.rnn.pad_sequence(
                [torch.from_numpy(row) for row in side[first : first + BATCH]], True, pad
            )
            for side in (sources, targets)
        )
        begin = torch.full((BATCH, 1), pad - 1)
        inputs = torch.cat([begin, target[:, :-1]], dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(source, inputs)
            loss = loss_function(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append((time.perf_counter() - begun) / BATCH)
    return times


def time_trainer(corpus_path: str, steps: int, bf16: bool) -> list[float]:
    """`transformers.Seq2SeqTrainer` with its defaults on a Marian network of the same size."""
    import transformers

    sources, targets, vocab_size = random_pairs(corpus_path, steps * BATCH)
    config = transformers.MarianConfig(
        vocab_size=vocab_size, d_model=WIDTH, encoder_layers=DEPTH, decoder_layers=DEPTH,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=MLP_WIDTH,
        decoder_ffn_dim=MLP_WIDTH, max_position_embeddings=512, scale_embedding=True,
        pad_token_id=vocab_size - 1, eos_token_id=0, decoder_start_token_id=vocab_size - 1,
        forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.MarianMTModel(config)
    examples = [
        {
            "input_ids": source.tolist(),
            "attention_mask": [1] * len(source),
            "labels": target.tolist(),
        }
        for source, target in zip(sources, targets, strict=True)
    ]

    def collate(rows: list[dict]) -> dict:
        import torch

        def padded(key: str, fill: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row[key]) for row in rows], True, fill
            )

        labels = padded("labels", -100)
        return {
            "input_ids": padded("input_ids", vocab_size - 1),
            "attention_mask": padded("attention_mask", 0),
            "labels": labels,
            "decoder_input_ids": model.prepare_decoder_input_ids_from_labels(labels),
        }

    times: list[float] = []

    class Stopwatch(transformers.TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.begun = time.perf_counter()

        def on_step_end(self, *_, **__):
            times.append((time.perf_counter() - self.begun) / BATCH)

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.Seq2SeqTrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps, bf16=bf16,
            use_cpu=True, report_to=[], save_strategy="no", logging_steps=10**6,
            disable_tqdm=True, label_smoothing_factor=0.1,
        )  # fmt: skip
        transformers.Seq2SeqTrainer(
            model, arguments, train_dataset=examples, data_collator=collate, callbacks=[Stopwatch()]
        ).train()
    return times


def measure(corpus: str, side: str, steps: int, batch_tokens: int) -> list[float]:
    """Run one side in a fresh process; seconds a pair in its steps, without the first two."""
    command = [
        sys.executable, __file__, corpus, "--side", side, "--steps", str(steps),
        "--batch-tokens", str(batch_tokens),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="a corpus of pairs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        bf16 = options.side.endswith("bf16")
        if options.side == "xunlian":
            times = time_xunlian(options.corpus, options.steps, options.batch_tokens)
        elif options.side.startswith("tutorial"):
            times = time_tutorial(options.corpus, options.steps, bf16)
        else:
            times = time_trainer(options.corpus, options.steps, bf16)
        print(json.dumps(times))
        return
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            times[side] += measure(options.corpus, side, options.steps, options.batch_tokens)
    speed = {side: 1 / statistics.median(seconds) for side, seconds in times.items()}
    ratios = {side: speed["xunlian"] / speed[side] for side in SIDES[1:]}
    print(", ".join(f"{side} {value:,.0f}" for side, value in speed.items()), "pairs/s")
    print(", ".join(f"{ratio:.2f}x {side}" for side, ratio in ratios.items()))
    record(
        "translation_training",
        {
            "network": f"{DEPTH}+{DEPTH} layers, width {WIDTH}",
            "batch_tokens": options.batch_tokens,
            "pairs_per_second": speed,
            "ratio": ratios,
        },
    )


if __name__ == "__main__":
    main()
