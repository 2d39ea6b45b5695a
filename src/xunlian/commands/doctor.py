"""`xunlian doctor`: what this machine can do, measured, and what training would choose."""

import argparse
import sys
from typing import Any

from xunlian.commands.common import add_json, print_json


def doctor() -> dict[str, Any]:
    """Facts and measured rates of this machine, and the choices that follow from them."""
    import platform

    import torch

    import xunlian
    from xunlian.machine.features import read_machine
    from xunlian.machine.rates import choose_precision, measure_rates, pick_device

    machine = read_machine()
    device = pick_device()
    torch.set_num_threads(machine.cores)
    rates = measure_rates(device)
    precision, reason = choose_precision(rates, machine, device)
    missing = [machine.compile_missing] if machine.compile_missing else []
    return {
        "versions": {
            "xunlian": xunlian.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "processor": machine.processor,
        "features": list(machine.features),
        "cores": machine.cores,
        "memory_available": machine.memory,
        "accelerators": list(machine.accelerators),
        "device": str(device),
        "matmul_rate": {"fp32": rates.fp32, "bf16": rates.bf16},
        "precision": precision,
        "precision_reason": reason,
        "compile": device.type != "cpu" or machine.can_compile,
        "compiler": machine.compiler,
        "missing": missing,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = doctor()
    if arguments.json:
        print_json(found)
        return 0
    rates = found["matmul_rate"]
    rows = {
        "processor": f"{found['processor']}, {found['cores']} cores",
        "features": ", ".join(found["features"]) or "none of those that matter",
        "memory": f"{found['memory_available'] / 1e9:.1f} GB available",
        "accelerators": ", ".join(found["accelerators"]) or "none: training runs on the CPU",
        "matrix rate": f"fp32 {rates['fp32'] / 1e9:,.0f} GFLOP/s, "
        f"bf16 {rates['bf16'] / 1e9:,.0f} GFLOP/s",
        "precision": f"{found['precision']}: {found['precision_reason']}",
        "torch.compile": f"yes, with {found['compiler']}"
        if found["compile"]
        else "no: training runs eager",
        "missing": "; ".join(found["missing"]) or "nothing",
        "versions": ", ".join(f"{k} {v}" for k, v in found["versions"].items()),
    }
    for name, value in rows.items():
        sys.stdout.write(f"{name:<15}{value}\n")
    return 0
