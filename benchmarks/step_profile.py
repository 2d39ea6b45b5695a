"""Where the time of a training step goes, part by part, for one network of mfu.py.

    python benchmarks/step_profile.py [decoder-10m-T256] [--steps 3]

A compiled step under PyTorch's profiler: matrix products, attention's products, element-wise
kernels, and the optimizer's parts, in milliseconds and as shares of the step. The profiler itself
costs a little; the shares are what matters.
"""

import argparse
import time
from collections import defaultdict
from typing import Any

import torch
from mfu import BATCH_TOKENS, NETWORKS, set_up
from torch.profiler import ProfilerActivity, profile, record_function

MATRIX = ("aten::mm", "aten::addmm", "aten::linear", "mkldnn::_linear_pointwise")
BATCHED = ("aten::bmm", "aten::baddbmm")
HEAD = "head and loss"
LISTED = 30


def watch(owner: Any, method: str, label: str) -> None:
    """Let the profiler see calls of a method under this name."""
    plain = getattr(owner, method)

    def watched(*arguments: Any, **options: Any) -> Any:
        with record_function(f"part: {label}"):
            return plain(*arguments, **options)

    setattr(owner, method, watched)


def part_of(event: Any) -> str:
    """The part of the step that an event is within, or ''."""
    while event is not None:
        if event.name.startswith("part: "):
            return str(event.name.removeprefix("part: "))
        event = event.cpu_parent
    return ""


def group_of(event: Any) -> str:
    name, part = event.name, part_of(event)
    if part.startswith("optimizer"):
        return part
    head = ", head" if part == HEAD else ""
    if name in MATRIX:
        return f"matrix products{head or ', blocks'}"
    if name in BATCHED:
        return "attention, products"
    if "scaled_dot_product" in name:
        return "attention, fused kernel"
    if "cpp_fused" in name:
        return f"compiled element-wise kernels{head or ', blocks'}"
    if name.startswith("aten::"):
        return "element-wise operations of the library"
    return "the rest (Python, compiled code's frame)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", choices=NETWORKS, default="decoder-10m-T256")
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch._inductor.config.cpp.enable_kernel_profile = True
    torch._inductor.config.cpp.descriptive_names = "original_aten"
    stepper, rows, _ = set_up(NETWORKS[options.network])
    stepper.compile()
    optimizers = stepper.optimizers
    if optimizers.muon is not None:
        import xunlian.training.optimizers as module

        watch(module, "orthogonalize", "optimizer, Newton-Schulz")
        watch(optimizers.muon, "step", "optimizer, rest of Muon")
    watch(optimizers.adamw, "step", "optimizer, AdamW")
    watch(torch.nn.utils, "get_total_norm", "optimizer, norm of the gradient")
    watch(stepper._bare_loss, "gradients", HEAD)
    watch(torch, "_foreach_mul_", "optimizer, scaling of the gradient")
    for _ in range(2):
        stepper.step(rows, 1.0, 1.0).wait()
    begun = time.perf_counter()
    for _ in range(options.steps):
        stepper.step(rows, 1.0, 1.0).wait()
    plain = (time.perf_counter() - begun) / options.steps
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        begun = time.perf_counter()
        for _ in range(options.steps):
            stepper.step(rows, 1.0, 1.0).wait()
        watched = (time.perf_counter() - begun) / options.steps
    groups: dict[str, float] = defaultdict(float)
    kernels: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in profiler.events():
        spent = event.self_cpu_time_total / 1e3 / options.steps
        group = group_of(event)
        groups[group] += spent
        if group.startswith(("compiled", "element-wise", "matrix", "attention")):
            sizes = [tuple(shape) for shape in event.input_shapes if shape and "aten" in event.name]
            entry = kernels[f"{event.name} {sizes or ''}"]
            entry[0] += spent
            entry[1] += 1 / options.steps
    total = 1e3 * watched
    groups["outside of what the profiler sees"] = total - sum(groups.values())
    print(
        f"{options.network}: {1e3 * plain:.0f} ms a step of {BATCH_TOKENS} tokens, "
        f"{total:.0f} ms under the profiler, {torch.get_num_threads()} threads"
    )
    for group, spent in sorted(groups.items(), key=lambda item: -item[1]):
        print(f"{spent:9.1f} ms {spent / total:6.1%}  {group}")
    print("The largest, with the calls a step:")
    largest = sorted(kernels.items(), key=lambda item: -item[1][0])[:LISTED]
    for name, (spent, calls) in largest:
        print(f"{spent:9.1f} ms {spent / total:6.1%}  {calls:5.0f} x {name}")


if __name__ == "__main__":
    main()
