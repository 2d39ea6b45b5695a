"""How well a network predicts the answers of conversations: their validation loss."""

from dataclasses import dataclass

import torch

from xunlian.data.conversations import ChatRows
from xunlian.evaluation.perplexity import evaluating
from xunlian.models.decoder import Decoder
from xunlian.models.losses import IGNORED, cross_entropy

BATCH_TOKENS = 4096  # in memory at once


@dataclass(frozen=True)
class ChatValidation:
    """Validation conversations in packed rows; `passed_over` are targets that do not count."""

    rows: ChatRows
    passed_over: tuple[int, ...] = ()

    @property
    def parts(self) -> int:
        return self.rows.rows_per_epoch

    def nats(self, model: Decoder, first: int, last: int, dtype: torch.dtype) -> tuple[float, int]:
        """Sum of -log p over the answers' tokens of rows first .. last-1, the tokens that end them
        included, and how many there are."""
        size = max(1, BATCH_TOKENS // self.rows.context)
        device = model.head_weight.device
        nats, tokens = 0.0, 0
        with evaluating(model):
            for start in range(first, last, size):
                arrays = self.rows.read(start, min(size, last - start))
                inputs, numbers, positions, targets = (
                    torch.from_numpy(array).to(device) for array in arrays
                )
                for token in self.passed_over:
                    targets[targets == token] = IGNORED
                hidden = model.confined(inputs, numbers, positions, dtype)
                nats += float(
                    cross_entropy(hidden.flatten(0, 1), model.head_weight, targets.flatten())
                )
                tokens += int((targets != IGNORED).sum())
        return nats, tokens
