"""What a block of the speedrun decoder (models/speedrun.py) has more than others, for the engine.

Shapes: B rows, L length, N = B L, D model width, G key/value heads, K width of a head.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.models.speedrun import Speedrun, SpeedrunBlock

Mix = Callable[[Tensor, Tensor], Tensor]
"""Residual stream (N, D) and embeddings (N, D) -> what the block reads (N, D)."""
Values = Callable[[Tensor, Tensor], Tensor]
"""Tokens (B, L) and the stream divided by its length (N, D) -> added to the values (B, L, G, K)."""


def mix_of(model: Speedrun, number: int) -> Mix:
    keep, again = _block(model, number).scales.tolist()
    return lambda x, embedded: (x * keep).add_(embedded, alpha=again)


def values_of(model: Speedrun, number: int) -> Values | None:
    """None where the block has no value embeddings."""
    layer = _block(model, number).value_gate
    if layer is None:
        return None
    table = model.values[str(number)].detach()
    gate = layer.weight.detach() * math.sqrt(model.config.width)  # an RMSNorm gives sqrt(D) x / |x|

    def values(tokens_BL: Tensor, normed_ND: Tensor) -> Tensor:
        open_NG = torch.sigmoid(F.linear(normed_ND[:, : gate.shape[1]], gate)).mul_(2)
        found_BLGK = F.embedding(tokens_BL, table).unflatten(-1, (gate.shape[0], -1))
        return found_BLGK * open_NG.view(*tokens_BL.shape, -1, 1)

    return values


def _block(model: Speedrun, number: int) -> SpeedrunBlock:
    block = model.blocks[number]
    assert isinstance(block, SpeedrunBlock)
    return block
