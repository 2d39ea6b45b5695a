"""The recurrent encoder-decoder: an RNN, GRU or LSTM reads a source, another writes the target.

Notable ideas:
- The encoder reads in both directions (arXiv 1409.0473); its last states begin the decoder's.
- Attention over the source as Luong et al. have it (arXiv 1508.04025, "general" scores), but after
  the decoder's first layer, for the layers above to read (as in GNMT, arXiv 1609.08144): what was
  looked at is remembered, as by feeding it back into the next step, and yet no step waits for an
  attention, so all targets of a batch go through each layer at once.
- Sources are padded at their end. The backward direction reads them turned about, padding still
  last, so no step needs a mask; attention does not see the padding.
- Norms and residual sums as in recurrent.py.

Shapes: B rows, S source length, T target length, L either, D width, N layers, S tensors of state.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.layers import Linear, RMSNorm
from xunlian.models.recurrence import STATES, Recurrence, initialize_layer
from xunlian.models.recurrent import (
    NORM_EPSILON,
    Family,
    RecurrentBlock,
    RecurrentConfig,
    drop_some,
)


class BidirectionalBlock(nn.Module):
    """x + (forward, backward)(norm(x)), each half as wide. (S, B, D) -> (S, B, D)"""

    def __init__(self, family: Family, width: int):
        super().__init__()
        self.norm = RMSNorm(width, NORM_EPSILON)
        self.onward = Recurrence(family, width, width // 2)
        self.backward_ = Recurrence(family, width, width // 2)

    def forward(
        self, x_SBD: Tensor, turned_SB: Tensor, last_B: Tensor, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """Also (B, D): what each direction knows at its end.

        `turned_SB` is the place of the token that the backward direction reads at each step,
        `last_B` that of the last token.
        """
        normed_SBD = self.norm(x_SBD)
        onward_SBD, _ = self.onward(normed_SBD)
        turned_SBD, _ = self.backward_(_pick(normed_SBD, turned_SB))
        rows = torch.arange(x_SBD.shape[1], device=x_SBD.device)
        ends_BD = torch.cat([onward_SBD[last_B, rows], turned_SBD[last_B, rows]], -1)
        y_SBD = torch.cat([onward_SBD, _pick(turned_SBD, turned_SB)], -1)
        return x_SBD + drop_some(y_SBD, dropout), ends_BD


class LuongAttention(nn.Module):
    """x + tanh(W [context; x]), where x looks at the source. (T, B, D) -> (T, B, D)"""

    def __init__(self, width: int):
        super().__init__()
        self.norm = RMSNorm(width, NORM_EPSILON)
        self.query = Linear(width, width, bias=False)
        self.output = Linear(2 * width, width, bias=False)

    def forward(
        self, x_TBD: Tensor, memory_BSD: Tensor, mask_B1S: Tensor, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """Also the weights (B, T, S). `mask_B1S` is 0 where a source has a token, else -inf."""
        normed_BTD = self.norm(x_TBD).transpose(0, 1)
        query_BTD = self.query(normed_BTD) / math.sqrt(x_TBD.shape[-1])
        scores_BTS = (query_BTD @ memory_BSD.mT).to(mask_B1S.dtype) + mask_B1S
        weights_BTS = scores_BTS.softmax(-1)
        context_BTD = weights_BTS.to(x_TBD.dtype) @ memory_BSD
        looked_BTD = torch.tanh(self.output(torch.cat([context_BTD, normed_BTD], -1)))
        return x_TBD + drop_some(looked_BTD, dropout).transpose(0, 1), weights_BTS


class RecurrentPairModel(nn.Module):
    """Pairs in, hidden states of the targets out; `head_weight` turns these into logits."""

    def __init__(self, config: RecurrentConfig, dropout: float = 0.0):
        super().__init__()
        assert config.decoder_depth is not None and config.tied
        self.config, self.dropout = config, dropout
        family, width = config.family, config.width
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.encoder = nn.ModuleList(BidirectionalBlock(family, width) for _ in range(config.depth))
        self.encoder_norm = RMSNorm(width, NORM_EPSILON)
        self.bridge = nn.ModuleList(
            Linear(width, STATES[family] * width) for _ in range(config.decoder_depth)
        )
        self.decoder = nn.ModuleList(
            RecurrentBlock(family, width) for _ in range(config.decoder_depth)
        )
        self.attention = LuongAttention(width)
        self.norm = RMSNorm(width, NORM_EPSILON)

    @property
    def blocks(self) -> list[nn.Module]:
        """What is compiled: nothing, the kernels are the library's."""
        return []

    @property
    def head_weight(self) -> Tensor:
        """(V, D)"""
        return self.embedding.weight

    def encode(
        self, source_BS: Tensor, marks_BS: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The memory (B, S, D), its mask (B, 1, S), and the decoder's first state (N, S, B, D).

        `marks_BS` is negative at padding, which comes last.
        """
        dropout = self.dropout if self.training else 0.0
        lengths_B = (marks_BS >= 0).sum(1)
        steps_S1 = torch.arange(source_BS.shape[1], device=source_BS.device).unsqueeze(1)
        inside_SB = steps_S1 < lengths_B
        turned_SB = torch.where(inside_SB, lengths_B - 1 - steps_S1, steps_S1)
        x_SBD = drop_some(self._embed(source_BS, dtype), dropout)
        ends = []
        for block in self.encoder:
            x_SBD, ends_BD = block(x_SBD, turned_SB, lengths_B - 1, dropout)
            ends.append(ends_BD)
        states = []
        for number, bridge in enumerate(self.bridge):
            # A decoder deeper than the encoder begins its upper layers from the last one, too.
            first_BD = torch.tanh(bridge(ends[min(number, len(ends) - 1)]))
            states.append(first_BD.unflatten(-1, (-1, self.config.width)).transpose(0, 1))
        wide = torch.promote_types(dtype, torch.float32)
        mask_BS = torch.zeros(marks_BS.shape, dtype=wide, device=marks_BS.device)
        mask_B1S = mask_BS.masked_fill(marks_BS < 0, float("-inf")).unsqueeze(1)
        return self.encoder_norm(x_SBD).transpose(0, 1), mask_B1S, torch.stack(states)

    def decode(
        self, memory_BSD: Tensor, mask_B1S: Tensor, state_NSBD: Tensor, inputs_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (B, T, D) for the tokens after each of `inputs_BT`, the state after the
        last, and how much each looked at the source (B, T, S).
        """
        dropout = self.dropout if self.training else 0.0
        x_TBD = drop_some(self._embed(inputs_BT, memory_BSD.dtype), dropout)
        states, weights_BTS = [], mask_B1S
        for number, block in enumerate(self.decoder):
            x_TBD, after = block(x_TBD, state_NSBD[number], dropout)
            states.append(after)
            if number == 0:
                x_TBD, weights_BTS = self.attention(x_TBD, memory_BSD, mask_B1S, dropout)
        return self.norm(x_TBD).transpose(0, 1), torch.stack(states), weights_BTS

    def forward(
        self,
        source_BS: Tensor,
        marks_BS: Tensor,
        inputs_BT: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Hidden states (B, T, D) of type `dtype`, ready for the output head."""
        return self.decode(*self.encode(source_BS, marks_BS, dtype), inputs_BT)[0]

    def _embed(self, tokens_BL: Tensor, dtype: torch.dtype) -> Tensor:
        """(L, B, D). Time comes first in memory: a step reads one piece."""
        return (F.embedding(tokens_BL.t(), self.head_weight) * math.sqrt(self.config.width)).to(
            dtype
        )


def _pick(x_SBD: Tensor, places_SB: Tensor) -> Tensor:
    return x_SBD.gather(0, places_SB.unsqueeze(-1).expand(x_SBD.shape))


@torch.no_grad()
def initialize(model: RecurrentPairModel, generator: torch.Generator) -> None:
    """Draw all weights anew, in a fixed order, from `generator`.

    What the attention adds starts at zero. The embedding is scaled by sqrt(D) going in and used as
    it is going out.
    """
    width = model.config.width
    model.embedding.weight.normal_(0, width**-0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, Recurrence):
            initialize_layer(module, generator)
        elif isinstance(module, Linear):
            module.weight.normal_(0, module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    model.attention.output.weight.zero_()
