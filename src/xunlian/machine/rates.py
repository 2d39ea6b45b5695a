"""How fast this machine multiplies matrices, and the precision that follows from it.

bf16 is worth its rounding only where the processor has instructions for it: elsewhere it is
emulated and slower than fp32. So it is measured, for about a second, and the faster one is taken.
"""

import time
from dataclasses import dataclass

import torch

from xunlian.machine.features import Machine

BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
WORTHWHILE = 1.3


@dataclass(frozen=True)
class Rates:
    """Measured rates of a matrix product, in floating-point operations a second."""

    fp32: float
    bf16: float

    def of(self, precision: str) -> float:
        """What a training in `precision` is measured against: fp8 against bf16."""
        return self.fp32 if precision == "fp32" else self.bf16


def pick_device(local_rank: int = 0) -> torch.device:
    """The accelerator of this process, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def measure_rates(device: torch.device, seconds: float = 0.4) -> Rates:
    """Time square products in fp32 and bf16, `seconds` each; the median is taken."""
    size = {"cpu": 1024, "mps": 2048}.get(device.type, 8192)
    return Rates(
        fp32=_rate(device, torch.float32, size, seconds),
        bf16=_rate(device, torch.bfloat16, size, seconds),
    )


def choose_precision(rates: Rates, machine: Machine, device: torch.device) -> tuple[str, str]:
    """The compute precision, and the reason in words."""
    ratio = rates.bf16 / rates.fp32
    if device.type == "cpu" and not any(f in machine.features for f in BF16_FEATURES):
        return "fp32", "the processor has no bf16 instructions"
    if ratio < WORTHWHILE:
        return "fp32", f"bf16 is only {ratio:.1f}x as fast as fp32 here"
    return "bf16", f"bf16 is {ratio:.1f}x as fast as fp32 here"


def _rate(device: torch.device, dtype: torch.dtype, size: int, seconds: float) -> float:
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - start)
        if len(times) >= 3 and times[-1] > seconds:
            break
    return 2 * size**3 / sorted(times)[len(times) // 2]
