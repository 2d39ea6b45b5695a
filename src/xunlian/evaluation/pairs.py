"""How well a network predicts targets from their sources: the validation loss of pairs."""

from dataclasses import dataclass

import torch

from xunlian.data.pairs import PairRows
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.evaluation.perplexity import evaluating
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.losses import IGNORED, cross_entropy
from xunlian.models.recurrent_pairs import RecurrentPairModel

BATCH_TOKENS = 4096  # of a side, in memory at once


@dataclass(frozen=True)
class PairValidation:
    """Validation pairs, in packed rows or sorted by length."""

    rows: PairRows | SortedPairs

    @property
    def parts(self) -> int:
        return self.rows.rows_per_epoch

    def nats(
        self,
        model: EncoderDecoder | RecurrentPairModel,
        first: int,
        last: int,
        dtype: torch.dtype,
    ) -> tuple[float, int]:
        """Sum of -log p over the targets of rows first .. last-1 (without label smoothing, so that
        runs with any smoothing compare), and how many targets there are, end tokens included.
        """
        # Rows of sorted pairs have lengths of their own, and hold several pairs each.
        sorted_rows = isinstance(self.rows, SortedPairs)
        size = 1 if sorted_rows else max(1, BATCH_TOKENS // self.rows.context)
        device = model.head_weight.device
        nats, tokens = 0.0, 0
        with evaluating(model):
            for start in range(first, last, size):
                arrays = self.rows.read(start, min(size, last - start))
                *inputs, targets = (
                    torch.from_numpy(a).reshape(-1, a.shape[-1]).to(device) for a in arrays
                )
                hidden = model(*inputs, dtype)
                nats += float(
                    cross_entropy(hidden.flatten(0, 1), model.head_weight, targets.flatten())
                )
                tokens += int((targets != IGNORED).sum())
        return nats, tokens
