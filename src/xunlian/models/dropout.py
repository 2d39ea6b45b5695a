"""Dropout from random bytes that are drawn outside of the compiled code.

Notable idea: a compiler's own random numbers are scalar on a CPU, where they cost a third of a
training step. Here each forward pass draws one byte an element, eight at a time, straight from
PyTorch's generator (so a resume repeats them), and a compiled block only compares and multiplies.
"""

import torch
from torch import Tensor


def dropout_bytes(*shape: int, device: torch.device) -> Tensor:
    """Random bytes (uint8) of this shape."""
    count = 1
    for size in shape:
        count *= size
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].view(shape)


def drop(x: Tensor, bytes_: Tensor | None, rate: float) -> Tensor:
    """`x` with about `rate` of its elements zero (to 1/256) and the others scaled up.

    `bytes_` has the shape of `x`; None leaves x as it is.
    """
    if bytes_ is None:
        return x
    threshold = dropped_of_256(rate)
    # 0 or 1 by arithmetic: a comparison of bytes is not vectorized.
    kept = (bytes_.float() - (threshold - 1)).clamp(0, 1)
    return x * (kept * (256 / (256 - threshold))).to(x.dtype)


def dropped_of_256(rate: float) -> int:
    """How many of 256 byte values drop an element."""
    return min(255, max(1, round(rate * 256)))
