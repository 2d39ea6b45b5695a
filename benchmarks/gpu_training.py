"""How fast networks train on one GPU, and what share of its matrix rate they reach.

    python benchmarks/gpu_training.py [NAME ...] [--nanogpt CHECKOUT] [--steps 8]

Names are those of NETWORKS; without any, all. Each is a process of its own, with what `train`
decides on this machine; random tokens are copied while the step before runs, as `train` does it. A
network that fails leaves no row. nanoGPT's `train.py` runs unchanged, compiled, with its own steps
of 491,520 tokens, at the micro-batch that it comes with and at larger ones.

`mfu` counts what the mathematics needs (half of a causal attention's square, nothing of an
optimizer) against 790 TFLOP/s, which a large product reached on an H200; `of_square` against a
product of 8192 x 8192 measured in the same process. Rows go to results/gpu_training.jsonl.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mfu import set_up
from peers.start import Failed
from records import record

VOCAB = 50_304  # nanoGPT's
BATCH_TOKENS = 480 * 1024
MATRIX_RATE = 790e12
WARM_UP = 3
NANOGPT = {"124m": (12, 12, 768), "350m": (24, 16, 1024)}
MICRO_BATCHES = {"124m": (12, 48, 96), "350m": (12, 24, 48)}
HOW_TO_GET = "git clone https://github.com/karpathy/nanoGPT, then --nanogpt PATH"


def transformer(architecture: str, depth: int, width: int, *more: str) -> list[str]:
    return [
        f"model.architecture={architecture}",
        f"model.depth={depth}",
        f"model.width={width}",
        "model.head_width=64",
        "model.context=1024",
        *more,
    ]


FP8 = "training.precision=fp8"
NETWORKS = {
    "gpt2-124m": transformer("gpt2", 12, 768),
    "gpt2-350m": transformer("gpt2", 24, 1024),
    "gpt2-350m-fp8": transformer("gpt2", 24, 1024, FP8),
    "qwen3-124m": transformer("qwen3", 12, 768, "model.tied=true"),
    "qwen3-350m": transformer("qwen3", 24, 1024, "model.tied=true"),
    "qwen3-350m-fp8": transformer("qwen3", 24, 1024, "model.tied=true", FP8),
    "qwen3-1.3b": transformer("qwen3", 24, 2048, "model.tied=true"),
    "qwen3-1.3b-fp8": transformer("qwen3", 24, 2048, "model.tied=true", FP8),
    "encoder-decoder": [
        "task=translation",
        "model.depth=6",
        "model.width=768",
        "model.context=256",
    ],
    **{
        family: [f"model.family={family}", "model.width=1024", "model.context=256"]
        for family in ("rnn", "gru", "lstm")
    },
}


def measure(name: str, steps: int) -> dict[str, Any]:
    """One network of ours: steps queued as `train` queues them, the time between their ends."""
    from xunlian.machine.rates import measure_rates

    device = torch.device("cuda", 0)
    torch.set_float32_matmul_precision("high")
    stepper, rows, flops = set_up(NETWORKS[name], VOCAB, BATCH_TOKENS, device)
    begun = time.perf_counter()
    stepper.compile()
    stepper.step(rows, 1.0, 1.0).wait()
    compile_seconds = time.perf_counter() - begun
    torch.cuda.reset_peak_memory_stats()
    ends, queued = [], None
    for _ in range(steps + WARM_UP):
        result = stepper.step(stepper.load(rows), 1.0, 1.0)
        if queued is not None:
            queued.wait()
            ends.append(time.perf_counter())
        queued = result
    ends = ends[WARM_UP - 1 :]
    seconds = statistics.median(b - a for a, b in pairwise(ends))
    square_rate = measure_rates(device).bf16
    return {
        "side": "xunlian",
        "network": name,
        "settings": NETWORKS[name],
        "parameters": sum(p.numel() for p in stepper.parameters),
        "micro_rows": stepper.micro_rows,
        "loss": result.loss,
        "compile_seconds": compile_seconds,
        "step_seconds": seconds,
        "tokens_per_second": BATCH_TOKENS / seconds,
        "mfu": flops / seconds / MATRIX_RATE,
        "of_square": flops / seconds / square_rate,
        "square_rate": square_rate,
        "memory_peak": torch.cuda.max_memory_allocated(),
    }


# nanoGPT's train.py, followed by the peak that PyTorch counted.
CHILD = """
import runpy, sys, torch
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
print("peak", torch.cuda.max_memory_allocated())
"""


def measure_nanogpt(checkout: Path, size: str, micro_rows: int, steps: int) -> dict[str, Any]:
    """Its `train.py` as it is, with compile (its default) and random tokens."""
    import numpy as np

    depth, heads, width = NANOGPT[size]
    with tempfile.TemporaryDirectory(prefix="nanogpt-") as name:
        folder = Path(name)
        for file in ("train.py", "model.py", "configurator.py"):
            shutil.copy(checkout / file, folder)
        data = folder / "data" / "random"
        data.mkdir(parents=True)
        tokens = np.random.default_rng(1).integers(0, VOCAB, 10**7, dtype=np.uint16)
        for part in ("train", "val"):
            tokens.tofile(data / f"{part}.bin")
        arguments = [
            "train.py",
            "--dataset=random",
            f"--n_layer={depth}",
            f"--n_head={heads}",
            f"--n_embd={width}",
            f"--batch_size={micro_rows}",
            f"--gradient_accumulation_steps={480 // micro_rows}",
            f"--max_iters={steps + WARM_UP}",
            "--log_interval=1",
            "--eval_iters=1",
            "--eval_interval=1000",
            "--always_save_checkpoint=False",
        ]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *arguments], cwd=folder, capture_output=True, text=True
        )
    if done.returncode:
        raise Failed(done.stderr)
    row = {"side": "nanogpt", "network": f"gpt2-{size}", "micro_rows": micro_rows}
    return {**row, **read_log(done.stdout)}


def read_log(printed: str) -> dict[str, Any]:
    """Speed and memory from what CHILD printed; the first steps compile and do not count."""
    times = [float(ms) / 1000 for ms in re.findall(r"iter \d+: .*time ([\d.]+)ms", printed)]
    seconds = statistics.median(times[WARM_UP:])
    return {
        "step_seconds": seconds,
        "tokens_per_second": BATCH_TOKENS / seconds,
        "memory_peak": int(re.findall(r"peak (\d+)", printed)[0]),
    }


def measure_in_child(name: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", name, "--steps", str(steps)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode:
        raise Failed(child.stderr)
    return json.loads(child.stdout.strip().splitlines()[-1])


def keep(label: str, measured: Callable[[], dict[str, Any]]) -> None:
    """Measure, record the row and say it in one line."""
    try:
        row = measured()
    except Failed as error:
        print(f"{label} failed: {error}", flush=True)
        return
    record("gpu_training", {**row, "gpu": torch.cuda.get_device_name(0)})
    share = f", MFU {row['mfu']:.1%}, {row['of_square']:.1%} of square" if "mfu" in row else ""
    print(
        f"{label} (micro-batch {row['micro_rows']}): "
        f"{row['tokens_per_second']:,.0f} tokens/s{share}, "
        f"peak {row['memory_peak'] / 1e9:.1f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--measure", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.steps)))
        return
    if not torch.cuda.is_available():
        raise SystemExit("There is no GPU here.")
    for name in options.names or NETWORKS:
        if name not in NETWORKS:
            raise SystemExit(f"There is no network '{name}'. There are: {', '.join(NETWORKS)}.")
        keep(f"xunlian {name}", partial(measure_in_child, name, options.steps))
    if options.nanogpt is None:
        print(f"nanoGPT is left out. To measure it: {HOW_TO_GET}.")
        return
    for size in NANOGPT:
        for micro_rows in MICRO_BATCHES[size]:
            measured = partial(measure_nanogpt, options.nanogpt, size, micro_rows, options.steps)
            keep(f"nanogpt gpt2-{size}", measured)


if __name__ == "__main__":
    main()
