"""How well an encoder-decoder predicts targets from their sources: the validation loss."""

from dataclasses import dataclass

import torch

from xunlian.data.pairs import PairRows
from xunlian.evaluation.perplexity import evaluating
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.losses import IGNORED, cross_entropy

BATCH_TOKENS = 4096  # of a side, in memory at once


@dataclass(frozen=True)
class PairValidation:
    """Validation pairs in packed rows."""

    rows: PairRows

    @property
    def parts(self) -> int:
        return self.rows.rows_per_epoch

    def nats(
        self, model: EncoderDecoder, first: int, last: int, dtype: torch.dtype
    ) -> tuple[float, int]:
        """Sum of -log p over the targets of rows first .. last-1 (without label smoothing, so that
        runs with any smoothing compare), and how many targets there are, end tokens included.
        """
        size = max(1, BATCH_TOKENS // self.rows.context)
        device = model.head_weight.device
        nats, tokens = 0.0, 0
        with evaluating(model):
            for start in range(first, last, size):
                arrays = self.rows.read(start, min(size, last - start))
                *inputs, targets = (torch.from_numpy(array).to(device) for array in arrays)
                hidden = model(*inputs, dtype)
                nats += float(
                    cross_entropy(hidden.flatten(0, 1), model.head_weight, targets.flatten())
                )
                tokens += int((targets != IGNORED).sum())
        return nats, tokens
