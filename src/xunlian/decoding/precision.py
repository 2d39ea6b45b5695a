"""The precision in which a model generates: asked for, or the faster one."""

import torch

from xunlian.errors import InputError
from xunlian.machine.features import read_machine
from xunlian.machine.rates import BF16_FEATURES, choose_precision, measure_rates

PRECISIONS = ("auto", "fp32", "bf16")


def decide_precision(precision: str, device: torch.device) -> str:
    """'fp32' or 'bf16'; 'auto' takes the one measured faster.

    Raises:
        InputError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision = '{precision}' is not one of {', '.join(PRECISIONS)}.")
    return faster_precision(device) if precision == "auto" else precision


def faster_precision(device: torch.device) -> str:
    """'bf16' where the machine has it and multiplies faster with it, else 'fp32'."""
    machine = read_machine()
    if device.type == "cpu" and not any(name in machine.features for name in BF16_FEATURES):
        return "fp32"
    with torch.random.fork_rng(devices=[]):
        return choose_precision(measure_rates(device, seconds=0.05), machine, device)[0]
