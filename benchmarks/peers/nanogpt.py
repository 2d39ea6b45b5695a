"""nanoGPT (https://github.com/karpathy/nanoGPT) on tiny Shakespeare by characters.

As it is, its own `train.py` runs unchanged, in a copy of the checkout. Tuned, a loop of ours does
what `train.py` does with its `model.py`, optimizer, schedule and batches, and adds bf16 autocast
and `torch.compile`, which `train.py` leaves out on a CPU.

The last loss is that of the whole validation part, in windows that do not overlap, after the last
step. Those of `train.py` on the way are its own: the mean of some random batches.
"""

import hashlib
import pickle
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

from peers.child import Stopwatch, run, tell, tell_base, tell_peak
from peers.evaluate import validation_loss
from peers.start import Line, facts, gather, start

CONTEXT = 256
VALIDATIONS = 5  # on the way, with the one before the first step
HOW_TO_GET = "git clone https://github.com/karpathy/nanoGPT, then --nanogpt PATH"


def version(checkout: Path) -> str:
    """A digest of what is run, for a checkout may have been changed."""
    digest = hashlib.sha256()
    for name in ("train.py", "model.py", "config/train_shakespeare_char.py"):
        digest.update((checkout / name).read_bytes())
    return digest.hexdigest()[:12]


def prepare(checkout: Path, text: str, folder: Path) -> Path:
    """A copy of the checkout with the data that its own `prepare.py` would make of `text`."""
    import numpy as np

    copy = folder / "nanoGPT"
    left = shutil.ignore_patterns(".git", "data", "assets", "out*", "__pycache__")
    shutil.copytree(checkout, copy, ignore=left)
    characters = sorted(set(text))
    ids = {character: i for i, character in enumerate(characters)}
    data = copy / "data" / "shakespeare_char"
    data.mkdir(parents=True)
    held_out = int(len(text) * 0.9)
    for name, part in (("train", text[:held_out]), ("val", text[held_out:])):
        np.array([ids[c] for c in part], dtype=np.uint16).tofile(data / f"{name}.bin")
    meta = {"vocab_size": len(ids), "stoi": ids, "itos": dict(enumerate(characters))}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))
    return copy


def measure(copy: Path, steps: int, batch: int, eval_iters: int) -> dict[str, Any]:
    """`train.py` as it is, fp32, on the CPU."""
    arguments = [
        "config/train_shakespeare_char.py",
        "--device=cpu",
        "--compile=False",
        f"--batch_size={batch}",
        f"--max_iters={steps - 1}",  # counts from 0
        f"--lr_decay_iters={steps}",
        f"--warmup_iters={min(100, steps // 5)}",
        f"--eval_interval={max(1, steps // VALIDATIONS)}",
        f"--eval_iters={eval_iters}",
        "--log_interval=1",
        "--always_save_checkpoint=False",
    ]
    lines = start("nanogpt", copy, {"script": arguments})
    batch_tokens = batch * CONTEXT
    curve, seconds = read_log(lines, batch_tokens)
    row = gather(facts(lines))
    last = {"seconds": seconds[-1], "tokens": steps * batch_tokens, "loss": row["loss"]}
    return {
        **row,
        **last,
        "curve": [*curve, last],
        "first_step_seconds": seconds[0],
        "tokens_per_second": batch_tokens * (steps - 1) / (seconds[-1] - seconds[0]),
    }


def measure_tuned(copy: Path, steps: int, batch: int, rate: float) -> dict[str, Any]:
    """The same model and data in bf16, compiled, at the given learning rate."""
    arguments = {"steps": steps, "batch": batch, "rate": rate}
    return gather(facts(start("nanogpt", copy, arguments)))


def read_log(lines: list[Line], batch_tokens: int) -> tuple[list[dict[str, float]], list[float]]:
    """The losses that `train.py` printed, and the second at which each step ended.

    Its evaluations and checkpoints do not count: a step that had one is taken to last as long as
    the median of the others, which is kind to it, for so its first step costs nothing extra.
    """
    begun = stopped = 0.0  # the last line before training, the last line of all
    plain: list[float] = []
    steps: list[float | None] = []
    losses: list[tuple[int, float]] = []
    evaluated = False
    for seconds, text in lines:
        if step := re.match(r"step (\d+): .*val loss ([\d.]+|nan)", text):
            begun = begun or stopped
            losses.append((int(step[1]), float(step[2])))
            evaluated = True
        elif re.match(r"iter \d+: ", text):
            steps.append(None if evaluated else seconds - stopped)
            if not evaluated:
                plain.append(seconds - stopped)
            evaluated = False
        stopped = seconds
    usual = statistics.median(plain)
    ends: list[float] = []
    for duration in steps:
        ends.append((ends[-1] if ends else begun) + (usual if duration is None else duration))
    curve = [
        {"seconds": ends[step - 1] if step else begun, "tokens": step * batch_tokens, "loss": loss}
        for step, loss in losses
    ]
    return curve, ends


def child(**arguments: Any) -> None:
    if "script" in arguments:
        _run_script(**arguments)
    else:
        _train_tuned(**arguments)


def _run_script(script: list[str]) -> None:
    """`python train.py ARGUMENTS` in this process, so that its model can be evaluated whole."""
    import runpy
    import sys

    import model  # noqa: F401
    import numpy  # noqa: F401
    import torch

    tell_base()
    sys.argv = ["train.py", *script]
    trained = runpy.run_path("train.py", run_name="__main__")["model"]
    tell_peak()
    tell(parameters=_parameters(trained), threads=torch.get_num_threads())
    tell(loss=_validation_loss(trained))


def _train_tuned(steps: int, batch: int, rate: float) -> None:
    import math
    import runpy

    import numpy as np
    import torch
    from model import GPT, GPTConfig

    tell_base()
    watch = Stopwatch()
    config = runpy.run_path("config/train_shakespeare_char.py")
    torch.manual_seed(1337)
    data = np.memmap("data/shakespeare_char/train.bin", dtype=np.uint16, mode="r")
    sizes = {key: config[key] for key in ("n_layer", "n_head", "n_embd", "dropout", "block_size")}
    raw = GPT(GPTConfig(vocab_size=_vocab_size(), bias=False, **sizes))
    optimizer = raw.configure_optimizers(0.1, rate, (0.9, config["beta2"]), "cpu")
    model = torch.compile(raw)
    warmup, lowest = min(config["warmup_iters"], steps // 5), rate / 10

    def rate_at(step: int) -> float:
        if step < warmup:
            return rate * (step + 1) / (warmup + 1)
        done = (step - warmup) / (steps - warmup)
        return lowest + 0.5 * (1 + math.cos(math.pi * done)) * (rate - lowest)

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        starts = torch.randint(len(data) - CONTEXT, (batch,))
        rows = np.stack([data[i : i + CONTEXT + 1] for i in starts.tolist()]).astype(np.int64)
        tokens = torch.from_numpy(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(raw.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == 0:
            tell(first_step_seconds=watch.seconds(), first_step_tokens=batch * CONTEXT)
        if step + 1 == steps:
            tell_peak()
        if (step + 1) % max(1, steps // VALIDATIONS) == 0 or step + 1 == steps:
            with watch.paused(), torch.autocast("cpu", dtype=torch.bfloat16):
                loss = _validation_loss(raw)
            tell(seconds=watch.seconds(), tokens=(step + 1) * batch * CONTEXT, loss=loss)
    tell(parameters=_parameters(raw), threads=torch.get_num_threads())


def _vocab_size() -> int:
    import numpy as np

    return 1 + int(np.fromfile("data/shakespeare_char/train.bin", dtype=np.uint16).max())


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _validation_loss(model: Any) -> float:
    import numpy as np

    tokens = np.fromfile("data/shakespeare_char/val.bin", dtype=np.uint16)
    model.eval()
    # Given targets, the model returns the logits of all positions.
    loss = validation_loss(lambda x_BL: model(x_BL, x_BL)[0], tokens, CONTEXT)
    model.train()
    return loss


if __name__ == "__main__":
    run(child)
