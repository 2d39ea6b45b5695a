"""A recurrent encoder-decoder made ready for translating: recurrent_pairs.py in few operations.

Beams that change places take their states with them, which are small; of a source only the
encoder's output is kept, once for all its beams. The rest is as in recurrent_engine.py.

Shapes: B sentences, W beams, S source length, D width, N layers, K tensors of state, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.decoding.packed import product
from xunlian.decoding.recurrent_engine import prepare_layer, prepare_norm
from xunlian.models.recurrent import RecurrentBlock
from xunlian.models.recurrent_pairs import RecurrentPairModel


class BeamState:
    """What the decoder looks at, (B, S, D) and its mask (B, 1, S), and each beam's state
    (N, K, B, W, D). It begins with one beam; `follow` says which go on.
    """

    def __init__(self, memory_BSD: Tensor, mask_B1S: Tensor, state_NKBD: Tensor):
        self.memory_BSD, self.mask_B1S = memory_BSD, mask_B1S
        self.state_NKBWD = state_NKBD.unsqueeze(3)

    def follow(self, parents_BW: Tensor) -> None:
        """Beam w of each sentence goes on from what was its beam `parents_BW[:, w]`."""
        shape = (*self.state_NKBWD.shape[:2], *parents_BW.shape, self.state_NKBWD.shape[-1])
        self.state_NKBWD = self.state_NKBWD.gather(
            3, parents_BW[None, None, ..., None].expand(shape)
        )

    def keep(self, index_B: Tensor) -> None:
        """Forget all sentences but these."""
        self.memory_BSD = self.memory_BSD.index_select(0, index_B)
        self.mask_B1S = self.mask_B1S.index_select(0, index_B)
        self.state_NKBWD = self.state_NKBWD.index_select(2, index_B)


class RecurrentPairEngine:
    """Reads sources, then token by token the targets of every beam."""

    @torch.inference_mode()
    def __init__(self, model: RecurrentPairModel, precision: str):
        """`precision` is 'fp32' or 'bf16': that of the matrix products."""
        self.config = model.config
        self.precision = precision
        self.device = model.embedding.weight.device
        self.dtype = dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._embedding = model.embedding.weight.detach()
        self._encode = model.encode
        self._decoder = [
            prepare_layer(block, dtype)
            for block in model.decoder
            if isinstance(block, RecurrentBlock)
        ]
        attention, width = model.attention, model.config.width
        self._attention_norm, gain = prepare_norm(attention.norm)
        self._query = product(attention.query.weight, None, gain / math.sqrt(width), dtype)
        gains = torch.cat([torch.ones_like(gain), gain])
        self._look = product(attention.output.weight, None, gains, dtype)
        self._norm, gain = prepare_norm(model.norm)
        self._head = product(model.head_weight, None, gain, dtype)

    @torch.inference_mode()
    def begin(self, sources: Sequence[Sequence[int]]) -> BeamState:
        """Read sources, each of at least one token and no longer than the context."""
        shape = (len(sources), max(map(len, sources)))
        tokens_BS = torch.zeros(shape, dtype=torch.long)
        marks_BS = torch.full(shape, -1)
        for row, source in enumerate(sources):
            tokens_BS[row, : len(source)] = torch.tensor(source)
            marks_BS[row, : len(source)] = 0
        return BeamState(
            *self._encode(tokens_BS.to(self.device), marks_BS.to(self.device), self.dtype)
        )

    @torch.inference_mode()
    def step(
        self, state: BeamState, tokens_BW: Tensor, watch: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Append one token to every beam.

        Returns hidden states (B W, D) for `logits`, and how much each source token was looked at,
        (B, W, S), by the one attention, whatever `watch` names.
        """
        batch, beams = tokens_BW.shape
        x = F.embedding(tokens_BW.reshape(1, -1), self._embedding) * math.sqrt(self.config.width)
        weights_BWS, states = state.mask_B1S, []
        for number, layer in enumerate(self._decoder):
            x, after_KRD = layer(x, state.state_NKBWD[number].flatten(1, 2))
            states.append(after_KRD.unflatten(1, (batch, beams)))
            if number == 0:
                normed_BWD = self._attention_norm(x).view(batch, beams, -1)
                scores_BWS = (self._query(normed_BWD) @ state.memory_BSD.mT).float()
                weights_BWS = (scores_BWS + state.mask_B1S).softmax(-1)
                context_BWD = weights_BWS.to(self.dtype) @ state.memory_BSD
                both_BWD = torch.cat([context_BWD, normed_BWD.to(self.dtype)], -1)
                x = x + torch.tanh(self._look(both_BWD)).float().view(x.shape)
        state.state_NKBWD = torch.stack(states)
        return x.squeeze(0), weights_BWS

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Of the next token, (N, V), in fp32."""
        return self._head(self._norm(hidden_ND)).float()
