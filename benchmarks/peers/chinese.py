"""What the sides on the Chinese corpus have in common: the size, the shards and the evaluation.

No imports of Xunlian, because litgpt lives in a Python of its own.

Shapes: B rows of a batch, L tokens of a row.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

VOCAB, DEPTH, WIDTH, HEADS, MLP_WIDTH, CONTEXT = 8192, 6, 384, 6, 1024, 512
ROWS = 8  # of a batch
BATCH_TOKENS = ROWS * CONTEXT
VALIDATIONS = 6  # points of a peer's curve
OURS = [
    f"model.depth={DEPTH}",
    f"model.width={WIDTH}",
    f"model.context={CONTEXT}",
    "model.tied=true",
    f"training.batch_tokens={BATCH_TOKENS}",
]


def read_tokens(corpus: str, split: str) -> "np.ndarray":
    """The token stream of a split, all its shards; ids of two bytes, as the vocabulary is small."""
    import numpy as np

    return np.concatenate(
        [np.fromfile(path, dtype="<u2") for path in sorted(Path(corpus).glob(f"{split}-*.bin"))]
    )


def training_rows(corpus: str, length: int) -> "Tensor":
    """Rows of `length` tokens, one after the other, as one tensor (rows, length)."""
    import torch

    tokens = read_tokens(corpus, "train")
    count = len(tokens) // length
    return torch.from_numpy(tokens[: count * length].astype("i8")).view(count, length)


def validation_loss(logits_of: Callable[["Tensor"], "Tensor"], corpus: str) -> float:
    """Mean nats of the whole validation part, in windows of CONTEXT that do not overlap.

    Args:
        logits_of: tokens_BL -> logits_BLV.
    """
    import torch
    from torch.nn.functional import cross_entropy

    data = torch.from_numpy(read_tokens(corpus, "val").astype("i8"))
    whole = (len(data) - 1) // CONTEXT * CONTEXT
    inputs, targets = data[:whole].view(-1, CONTEXT), data[1 : whole + 1].view(-1, CONTEXT)
    batches = list(zip(inputs.split(ROWS), targets.split(ROWS), strict=True))
    if whole < len(data) - 1:
        batches.append((data[None, whole:-1], data[None, whole + 1 :]))
    nats = 0.0
    with torch.no_grad():
        for inputs_BL, targets_BL in batches:
            logits = logits_of(inputs_BL).float().flatten(0, 1)
            nats += cross_entropy(logits, targets_BL.flatten(), reduction="sum").item()
    return nats / (len(data) - 1)
