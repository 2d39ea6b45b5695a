"""Where tokens stand in their pair, and the fixed tables that tell it to an encoder-decoder.

Shapes: B rows, L length, D width.
"""

import math

import torch
from torch import Tensor


def places(pairs_BL: Tensor) -> Tensor:
    """(B, L): the place of each token within its pair, from 0."""
    length = pairs_BL.shape[1]
    index_L = torch.arange(length, device=pairs_BL.device)
    begins = torch.ones_like(pairs_BL, dtype=torch.bool)
    begins[:, 1:] = pairs_BL[:, 1:] != pairs_BL[:, :-1]
    return index_L - torch.where(begins, index_L, 0).cummax(dim=1).values


def sinusoidal_table(length: int, width: int) -> Tensor:
    """Fixed positions (length, D): sines in the first half, cosines in the second."""
    frequencies = 10_000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def tensor2tensor_table(first: int, length: int, width: int) -> Tensor:
    """The same for the positions `first` to `first + length - 1` as M2M100 and NLLB have them: the
    slowest angle is exactly 1 / 10,000 a position, as in Tensor2Tensor (arXiv 1803.07416).

    Angles are fp32 from the first step on, as these models were trained: at position 1,000 its
    rounding is 1e-4.
    """
    half = width // 2
    step = -math.log(10_000) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * step)
    angles = torch.outer(torch.arange(first, first + length, dtype=torch.float32), frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
