"""What the sides on the Chinese corpus have in common: the size and the shards.

No imports of Xunlian, because litgpt lives in a Python of its own.
"""

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
