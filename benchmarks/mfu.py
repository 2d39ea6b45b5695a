"""What share of the machine's matrix rate a training step reaches, for every family of networks.

    python benchmarks/mfu.py [NAME ...] [--steps 6]

Names are those of NETWORKS; without any, all that results/mfu.jsonl does not have yet for this
machine and these versions. Each is a process of its own.

The matrix products of a step (forward, backward by input and by weight, attention, head) are
collected with their shapes and layouts, and each is timed alone. What they take together is the
least that a step could take with this library; the step's own rate is compared with theirs
(`of_shapes`) and with that of a square product (`of_square`). Only what the mathematics needs is
counted as done: half of a causal attention's square, and nothing of an optimizer.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from records import record, recorded_here
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")
VOCAB = 4096
BATCH_TOKENS = 8192
SECONDS = 0.3  # of timing one product
LARGE = {"10m": (6, 384), "30m": (8, 512), "50m": (10, 640)}
NETWORKS = {
    f"decoder-{size}-T{context}": [
        f"model.depth={depth}",
        f"model.width={width}",
        f"model.context={context}",
    ]
    for size, (depth, width) in LARGE.items()
    for context in (256, 512, 1024)
}
NETWORKS |= {
    "gpt2-10m-T256": [*NETWORKS["decoder-10m-T256"], "model.architecture=gpt2"],
    "encoder-decoder-T64": [
        "task=translation",
        "model.depth=4",
        "model.width=256",
        "model.context=64",
    ],
    **{
        f"{family}-T256": [f"model.family={family}", "model.width=512", "model.context=256"]
        for family in ("rnn", "gru", "lstm")
    },
}


@dataclass(frozen=True)
class Product:
    """A matrix product, perhaps batched: shapes and strides of both sides, and their type."""

    left: tuple[tuple[int, ...], tuple[int, ...]]
    right: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: torch.dtype

    @property
    def flops(self) -> float:
        *batch, rows, inner = self.left[0]
        return 2.0 * (batch[0] if batch else 1) * rows * inner * self.right[0][-1]

    def seconds(self) -> float:
        """The median of many, alone."""
        left, right = (
            torch.randn(
                1 + sum((n - 1) * s for n, s in zip(*side, strict=True)), dtype=torch.float32
            )
            .to(self.dtype)
            .as_strided(*side)
            for side in (self.left, self.right)
        )
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(times) < 5 or time.perf_counter() < end:
            begun = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - begun)
        return statistics.median(times[1:])


def contiguous(*shapes: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each shape with its strides."""
    return [(shape, torch.empty(shape, device="meta").stride()) for shape in shapes]


class Collector(TorchDispatchMode):
    """Counts the matrix products that run within; half a product is one of which half is run."""

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[Product, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten, name = torch.ops.aten, func.overloadpacket
        if name in (aten.mm, aten.bmm):
            self.add(args[0], args[1])
        elif name in (aten.addmm, aten.baddbmm):
            self.add(args[1], args[2])
        elif name is aten._scaled_dot_product_flash_attention_for_cpu:
            self.add_attention(args[0], count=1)
        elif name is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self.add_attention(args[1], count=2)
        elif name in (aten.mkldnn_rnn_layer, aten.mkldnn_rnn_layer_backward):
            self.add_layer(args[0], args[1], args[2], backward="backward" in str(name))
        return func(*args, **(kwargs or {}))

    def add(self, left: Tensor, right: Tensor) -> None:
        sides = ((tuple(x.shape), x.stride()) for x in (left, right))
        self.products[Product(*sides, left.dtype)] += 1

    def add_attention(self, q_BHLK: Tensor, count: int) -> None:
        """Inside of a causal fused kernel: `count` times both products, their lower triangle."""
        rows, heads, length, head = q_BHLK.shape
        scores, values = (
            contiguous((rows * heads, length, inner), (rows * heads, inner, columns))
            for inner, columns in ((head, length), (length, head))
        )
        for sides in (scores, values):
            self.products[Product(*sides, q_BHLK.dtype)] += count / 2

    def add_layer(
        self, x_LBD: Tensor, by_input: Tensor, by_hidden: Tensor, *, backward: bool
    ) -> None:
        """Inside of oneDNN's LSTM: all inputs at once, and h step by step."""
        length, rows, _ = x_LBD.shape
        for weight, times, height in (
            (by_input, 1, length * rows),
            (by_hidden, length, rows),
        ):
            out, inner = weight.shape
            if not backward:
                shapes = [((height, inner), (inner, out), times)]
            else:  # by input, and by weight, which can wait for all steps
                shapes = [
                    ((height, out), (out, inner), times),
                    ((out, length * rows), (length * rows, inner), 1),
                ]
            for left, right, count in shapes:
                self.products[Product(*contiguous(left, right), x_LBD.dtype)] += count


def set_up(
    network: list[str],
    vocab_size: int = VOCAB,
    batch_tokens: int = BATCH_TOKENS,
    device: torch.device = CPU,
) -> tuple[Any, Any, float]:
    """A stepper with what `train` chooses here, one step's rows, and the FLOPs of a step."""
    from xunlian.machine.features import read_machine
    from xunlian.recipe.load import load_recipe
    from xunlian.recipe.resolve import shape_of
    from xunlian.recipe.settings import Recipe
    from xunlian.recipe.size import training_flops_per_token
    from xunlian.training import decisions
    from xunlian.training.networks import build_model
    from xunlian.training.parallel import Group
    from xunlian.training.setup import build_stepper

    group = Group(0, 1, device)
    settings = [f"training.batch_tokens={batch_tokens}", "training.budget=10M tokens"]
    recipe = load_recipe(Recipe(), [*network, *settings])
    recipe = decisions.decide(
        recipe, vocab_size=vocab_size, corpus_tokens=10**8, machine=read_machine(), group=group
    ).recipe
    model, context = build_model(recipe, vocab_size), recipe.model.context
    stepper = build_stepper(recipe, model, group)
    model.train()
    per_token = training_flops_per_token(recipe.model, shape_of(recipe.model), vocab_size)
    rows = make_rows(recipe.task, recipe.model.family, context, vocab_size, batch_tokens)
    return stepper, rows, batch_tokens * per_token


def make_rows(
    task: str, family: str, context: int, vocab_size: int, batch_tokens: int
) -> tuple[Any, ...]:
    """Random tokens in the arrays that this kind of network reads; pairs are 16 tokens long."""
    import numpy as np

    rows = batch_tokens // context
    tokens = np.random.default_rng(1).integers(0, vocab_size, (rows, context + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    if task == "translation":
        pairs = np.broadcast_to(np.arange(context) // 16, (rows, context)).copy()
        return inputs, pairs, inputs, pairs, targets
    if family != "transformer":
        return inputs, np.arange(rows), np.zeros((rows, 1), dtype=bool)[:, 0], targets
    return inputs, targets


def measure(name: str, steps: int) -> dict[str, Any]:
    """One row of the table."""
    from xunlian.machine.rates import measure_rates

    stepper, rows, flops = set_up(NETWORKS[name])
    with Collector() as collector:
        stepper.backward(rows)
    stepper.optimizers.clear_gradients()
    products = collector.products
    stepper.compile()
    times = []
    for _ in range(steps + 2):
        begun = time.perf_counter()
        stepper.step(rows, 1.0, 1.0).wait()
        times.append(time.perf_counter() - begun)
    step_seconds = statistics.median(times[2:])
    alone = {product: product.seconds() for product in products}
    products_seconds = sum(alone[p] * count for p, count in products.items())
    shapes_rate = sum(p.flops * count for p, count in products.items()) / products_seconds
    rates = measure_rates(torch.device("cpu"))
    square_rate = rates.bf16 if stepper.dtype == torch.bfloat16 else rates.fp32
    return {
        "network": name,
        "settings": NETWORKS[name],
        "precision": str(stepper.dtype).removeprefix("torch."),
        "attention": getattr(stepper.model, "attention_form", None),
        "parameters": sum(p.numel() for p in stepper.parameters),
        "threads": torch.get_num_threads(),
        "step_seconds": step_seconds,
        "tokens_per_second": BATCH_TOKENS / step_seconds,
        "step_rate": flops / step_seconds,
        "shapes_rate": shapes_rate,
        "square_rate": square_rate,
        "of_shapes": flops / step_seconds / shapes_rate,
        "of_square": flops / step_seconds / square_rate,
        "products_share": products_seconds / step_seconds,
        "products": [
            {
                "shape": [*p.left[0], p.right[0][-1]],
                "count": count,
                "rate": p.flops / alone[p],
                "share": alone[p] * count / products_seconds,
            }
            for p, count in sorted(products.items(), key=lambda item: -alone[item[0]] * item[1])
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--measure", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.steps)))
        return
    for name in options.names:
        if name not in NETWORKS:
            raise SystemExit(f"There is no network '{name}'. There are: {', '.join(NETWORKS)}.")
    done = set() if options.names else {row["network"] for row in recorded_here("mfu")}
    for name in options.names or NETWORKS:
        if name in done:
            continue
        command = [sys.executable, __file__, "--measure", name, "--steps", str(options.steps)]
        child = subprocess.run(command, capture_output=True, text=True)
        if child.returncode:
            raise SystemExit(child.stderr)
        row = json.loads(child.stdout.strip().splitlines()[-1])
        print(
            f"{name}: {row['tokens_per_second']:,.0f} tokens/s, {row['step_rate'] / 1e9:,.0f} "
            f"GFLOP/s; {row['of_shapes']:.0%} of {row['shapes_rate'] / 1e9:,.0f} at its shapes, "
            f"{row['of_square']:.0%} of {row['square_rate'] / 1e9:,.0f} at 1024 x 1024",
            flush=True,
        )
        record("mfu", row)


if __name__ == "__main__":
    main()
