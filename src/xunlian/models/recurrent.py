"""The recurrent language model: an RNN, GRU or LSTM over one stream of tokens.

Notable ideas:
- It remembers in a state of fixed size, which goes on from one stretch of text to the next:
  `forward` takes a state and gives the next (truncated backpropagation through time, Williams and
  Peng, 1990). There is no limit to what it may have read; `context` is how far a gradient reaches.
- Every layer reads normalized input and adds to it (as in decoder.py, whose norms these are), so
  that depth costs no signal.
- `forward` stops before the output head: the loss (losses.py) takes the head in chunks.

Shapes: B rows, L length, D width, N layers, S tensors of state (2 of an LSTM: h and c; else 1), V
vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.dropout import drop, dropout_bytes
from xunlian.models.layers import Linear, RMSNorm
from xunlian.models.recurrence import STATES, Recurrence, initialize_layer

Family = Literal["rnn", "gru", "lstm"]
NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class RecurrentConfig:
    """All that fixes the shape and the mathematics of a recurrent network.

    `decoder_depth` only of one for pairs; `depth` is then that of the encoder.
    """

    family: Family
    vocab_size: int
    depth: int
    width: int
    context: int
    tied: bool
    decoder_depth: int | None = None


class RecurrentBlock(nn.Module):
    """x + recurrence(norm(x)). (L, B, D) -> (L, B, D)"""

    def __init__(self, family: Family, width: int):
        super().__init__()
        self.norm = RMSNorm(width, NORM_EPSILON)
        self.recurrence = Recurrence(family, width, width)

    def forward(
        self, x_LBD: Tensor, state_SBD: Tensor | None, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """`dropout` 0: none."""
        y_LBD, state_SBD = self.recurrence(self.norm(x_LBD), state_SBD)
        return x_LBD + drop_some(y_LBD, dropout), state_SBD


def drop_some(x: Tensor, rate: float) -> Tensor:
    """Dropout; rate 0 leaves x as it is."""
    return drop(x, dropout_bytes(*x.shape, device=x.device), rate) if rate else x


class RecurrentModel(nn.Module):
    """Tokens in, hidden states out; `head_weight` turns these into logits."""

    def __init__(self, config: RecurrentConfig, dropout: float = 0.0):
        super().__init__()
        self.config, self.dropout = config, dropout
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(
            RecurrentBlock(config.family, config.width) for _ in range(config.depth)
        )
        self.norm = RMSNorm(config.width, NORM_EPSILON)
        self.head = None if config.tied else Linear(config.width, config.vocab_size, bias=False)

    @property
    def blocks(self) -> list[nn.Module]:
        """What is compiled: nothing, the kernels are the library's."""
        return []

    @property
    def head_weight(self) -> Tensor:
        """(V, D)"""
        return self.embedding.weight if self.head is None else self.head.weight

    def new_state(self, rows: int) -> Tensor:
        """(N, S, B, D): that of rows which have read nothing."""
        config, weight = self.config, self.embedding.weight
        shape = (config.depth, STATES[config.family], rows, config.width)
        return torch.zeros(shape, device=weight.device)

    def advance_state(
        self, tokens_BL: Tensor, state_NSBD: Tensor | None, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (B, L, D), normalized, and the state after the last token.

        Without `state_NSBD` a text begins. Gradients do not go back over the state.
        """
        dropout = self.dropout if self.training else 0.0
        # Time comes first in memory: a step reads one piece.
        x_LBD = drop_some(F.embedding(tokens_BL.t(), self.embedding.weight).to(dtype), dropout)
        states = []
        for number, layer in enumerate(self.layers):
            before = None if state_NSBD is None else state_NSBD[number]
            x_LBD, after = layer(x_LBD, before, dropout)
            states.append(after)
        return self.norm(x_LBD).transpose(0, 1), torch.stack(states)

    def forward(self, tokens_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Hidden states (B, L, D) of type `dtype`, of texts from their beginning."""
        return self.advance_state(tokens_BL, None, dtype)[0]

    def logits(self, tokens_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Logits (B, L, V), whole: for short texts; training and evaluation chunk them."""
        return F.linear(self(tokens_BL, dtype), self.head_weight.to(dtype)).float()


@torch.no_grad()
def initialize(model: RecurrentModel, generator: torch.Generator) -> None:
    """Draw all weights anew, in a fixed order, from `generator`; an untied head starts at zero."""
    # A tied embedding is also the head: its logits must start small.
    model.embedding.weight.normal_(0, 0.02 if model.config.tied else 0.5, generator=generator)
    for layer in model.layers:
        initialize_layer(layer.recurrence, generator)  # type: ignore[arg-type]
    if model.head is not None:
        model.head.weight.zero_()
