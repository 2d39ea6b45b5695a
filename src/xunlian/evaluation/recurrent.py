"""The validation loss of recurrent language models."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from xunlian.evaluation.perplexity import Stream, count_windows, evaluating
from xunlian.models.losses import IGNORED, cross_entropy
from xunlian.models.recurrent import RecurrentModel

LANES = 16


@dataclass(frozen=True)
class CarriedValidation:
    """A validation text, each window of which is read with the state that the one before left.

    So the figure is that of a network that has read what came before, as in training; a decoder
    (StreamValidation) begins each window anew. The windows are dealt out to at most LANES lanes,
    whatever the processes, and each lane reads one window more, before its own, which does not
    count: hardly any token is predicted from nothing.
    """

    stream: Stream
    context: int

    @property
    def parts(self) -> int:
        return min(LANES, count_windows(len(self.stream), self.context))

    def nats(
        self, model: RecurrentModel, first: int, last: int, dtype: torch.dtype
    ) -> tuple[float, int]:
        """Sum of nats of lanes first .. last-1 and how many tokens they predict."""
        if first == last:
            return 0.0, 0
        windows = count_windows(len(self.stream), self.context)
        bounds = [windows * lane // self.parts for lane in range(first, last + 1)]
        most = max(after - begin for begin, after in itertools.pairwise(bounds))
        device = model.head_weight.device
        state = model.new_state(last - first)
        nats, tokens = 0.0, 0
        with evaluating(model):
            for place in range(-1, most):
                rows = [
                    self._row(begin + place, begin, after)
                    for begin, after in itertools.pairwise(bounds)
                ]
                inputs, targets = (
                    torch.from_numpy(np.stack(arrays)).to(device)
                    for arrays in zip(*rows, strict=True)
                )
                hidden, state = model.advance_state(inputs, state, dtype)
                if place < 0 and first == 0:
                    state[:, :, 0] = 0  # nothing stands before the first window
                nats += float(
                    cross_entropy(hidden.flatten(0, 1), model.head_weight, targets.flatten())
                )
                tokens += int((targets != IGNORED).sum())
        return nats, tokens

    def _row(self, window: int, begin: int, after: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of a window; what is not of this lane has no targets."""
        inputs = np.zeros(self.context, dtype=np.int64)
        targets = np.full(self.context, IGNORED, dtype=np.int64)
        if 0 <= window < after:
            start = window * self.context
            read = self.stream.read(start, min(start + self.context + 1, len(self.stream)))
            inputs[: len(read) - 1] = read[:-1]
            if window >= begin:
                targets[: len(read) - 1] = read[1:]
        return inputs, targets
