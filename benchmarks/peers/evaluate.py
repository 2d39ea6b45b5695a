"""The validation loss of a peer, as `xunlian train` computes its own.

Shapes: B rows of a batch, L tokens of a row, V vocabulary.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def validation_loss(
    logits_of: "Callable[[Tensor], Tensor]", tokens: "np.ndarray", context: int, rows: int = 8
) -> float:
    """Mean nats of all tokens but the first, in windows of `context` that do not overlap.

    Args:
        logits_of: tokens_BL -> logits_BLV; without dropout.
    """
    import torch
    from torch.nn.functional import cross_entropy

    data = torch.from_numpy(tokens.astype("i8"))
    whole = (len(data) - 1) // context * context
    inputs, targets = data[:whole].view(-1, context), data[1 : whole + 1].view(-1, context)
    batches = list(zip(inputs.split(rows), targets.split(rows), strict=True))
    if whole < len(data) - 1:
        batches.append((data[None, whole:-1], data[None, whole + 1 :]))
    nats = 0.0
    with torch.no_grad():
        for inputs_BL, targets_BL in batches:
            logits = logits_of(inputs_BL).float().flatten(0, 1)
            nats += cross_entropy(logits, targets_BL.flatten(), reduction="sum").item()
    return nats / (len(data) - 1)
