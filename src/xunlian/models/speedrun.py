"""The speedrun decoder: what learns faster, but no mainstream engine has a class for.

It is the decoder of decoder.py, with these ideas of the speedruns of modded-nanogpt and nanochat:
- Value embeddings: in every other block, up to the last, a table of its own gives each token a
  vector that is added to its values, through a gate for each head. Many parameters, hardly any
  arithmetic.
- Residual scalars: a block reads a x + b e, where e is the embedding of the token and a and b are
  learned, so that no block has to carry the token itself along.

Shapes: B batch, L length, D model width, G key/value heads, K width of a head, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models import decoder
from xunlian.models.decoder import Block, Decoder, DecoderConfig
from xunlian.models.dropout import drop
from xunlian.models.layers import Linear, RMSNorm

GATE_INPUTS = 32  # channels of the residual stream that a gate looks at


def has_values(config: DecoderConfig, number: int) -> bool:
    """Whether block `number` has a table of value embeddings: the last, and every other before."""
    return (config.depth - 1 - number) % 2 == 0


class SpeedrunBlock(Block):
    """As Block, of a x + b e. (B, L, D) -> (B, L, D)"""

    attention_norm: RMSNorm

    def __init__(self, config: DecoderConfig, dropout: float, number: int):
        super().__init__(config, dropout)
        self.scales = nn.Parameter(torch.tensor([1.0, 0.0]))  # a and b
        self.value_gate = (
            Linear(min(GATE_INPUTS, config.width), config.kv_heads, bias=False)
            if has_values(config, number)
            else None
        )

    def forward(
        self,
        x_BLD: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        form: str,
        bytes_: Tensor | None = None,
        embedded_BLD: Tensor | None = None,
        values_BLGK: Tensor | None = None,
    ) -> Tensor:
        """`embedded_BLD` is e; None: x itself. `values_BLGK` are the tokens' value embeddings."""
        first, second = (None, None) if bytes_ is None else bytes_
        embedded_BLD = x_BLD if embedded_BLD is None else embedded_BLD
        keep, again = self.scales.unbind()
        x_BLD = (x_BLD.float() * keep + embedded_BLD.float() * again).to(x_BLD.dtype)
        if values_BLGK is not None and self.value_gate is not None:
            seen_BLC = self.attention_norm.without_gain(x_BLD)[..., : self.value_gate.in_features]
            gate_BLG1 = 2 * torch.sigmoid(self.value_gate(seen_BLC).float()).unsqueeze(-1)
            values_BLGK = (gate_BLG1 * values_BLGK).to(x_BLD.dtype)
        attended = self.attention(x_BLD, self.attention_norm, rotary, form, values_BLGK)
        x_BLD = x_BLD + drop(attended, first, self.dropout)
        return x_BLD + drop(self.mlp(x_BLD, self.mlp_norm), second, self.dropout)


class Speedrun(Decoder):
    """Tokens in, hidden states out; `head_weight` turns these into logits."""

    def __init__(self, config: DecoderConfig, dropout: float = 0.0):
        super().__init__(config, dropout)
        # Each (V, G K).
        self.values = nn.ParameterDict(
            {
                str(number): torch.empty(config.vocab_size, config.kv_heads * config.head_width)
                for number in range(config.depth)
                if has_values(config, number)
            }
        )

    def _block(self, number: int) -> Block:
        return SpeedrunBlock(self.config, self.dropout, number)

    def forward(self, tokens_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """As Decoder's."""
        x_BLD, rotary = self._enter(tokens_BL, dtype)
        # A copy: where two inputs are one tensor, a compiler makes other code, which takes it long.
        embedded_BLD, form = x_BLD.clone(), self.attention_form
        for number, block in enumerate(self.blocks):
            values_BLGK = None
            if str(number) in self.values:
                found = F.embedding(tokens_BL, self.values[str(number)])
                values_BLGK = found.unflatten(-1, (self.config.kv_heads, -1))
            x_BLD = block(x_BLD, rotary, form, self._bytes(2, x_BLD), embedded_BLD, values_BLGK)
        return self.norm(x_BLD)


@torch.no_grad()
def initialize(model: Speedrun, generator: torch.Generator) -> None:
    """As decoder.initialize; at first a block reads x alone, and every gate is 1."""
    decoder.initialize(model, generator)
    for block in model.blocks:
        assert isinstance(block, SpeedrunBlock)
        block.scales.copy_(torch.tensor([1.0, 0.0]))
        if block.value_gate is not None:
            block.value_gate.weight.zero_()
