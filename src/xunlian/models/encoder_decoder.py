"""The encoder-decoder: a Transformer that reads a source and writes a target.

Notable ideas:
- No padding: several pairs lie one after the other in a row of fixed length, on both sides, and
  attention is confined to a token's own pair. `source_pairs` and `target_pairs` number the pairs of
  a row; positions, masks and losses follow from them.
- Two layouts that mainstream engines load without custom code: Pegasus (norms before each part and
  at both ends, which trains more steadily; arXiv 2002.04745) and Marian (norms after each part, as
  in "Attention Is All You Need", arXiv 1706.03762). Both have biases, sinusoidal positions and one
  embedding for source, target and output head.
- Three more for models that others trained: M2M100 (arXiv 2010.11125; NLLB has it, too) is Pegasus
  but for its table of positions; BART (arXiv 1910.13461) is Marian, mBART (arXiv 2001.08210)
  Pegasus, with learned positions and a norm of what goes in.
- Published Marian models add a fixed bias to their logits. It is one more column of the head, which
  meets a constant one in the hidden states, so a loss need not know of it.
- Output projections start at zero, as in decoder.py; `forward` stops before the output head, which
  the loss takes in chunks.

Shapes: B rows, S source length, T target length, L either, D width, V vocabulary.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.confined import CrossAttention, SelfAttention
from xunlian.models.dropout import drop, dropout_bytes
from xunlian.models.layers import MLP, LayerNorm
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.positions import places, sinusoidal_table, tensor2tensor_table

HEAD_COLUMNS = 8  # of the bias and padding: kernels like multiples of 8


class _Block(nn.Module):
    """Parts, each added to what it reads; its norm comes before it or after the sum."""

    def __init__(self, config: EncoderDecoderConfig, dropout: float):
        super().__init__()
        self.dropout, self.norms_first = dropout, config.norms_first

    def add(
        self,
        x: Tensor,
        norm: nn.Module,
        part: Callable[[Tensor, nn.Module | None], Tensor],
        bytes_: Tensor | None,
    ) -> Tensor:
        """`x` and what `part` makes of it; `bytes_` decide what dropout takes of that."""
        x = x + drop(part(x, norm if self.norms_first else None), bytes_, self.dropout)
        return x if self.norms_first else norm(x)


class EncoderBlock(_Block):
    """Self-attention, then feed-forward. (B, S, D) -> (B, S, D)"""

    parts = 2

    def __init__(self, config: EncoderDecoderConfig, dropout: float):
        super().__init__(config, dropout)
        width, epsilon = config.width, config.norm_epsilon
        self.attention_norm = LayerNorm(width, eps=epsilon)
        self.attention = SelfAttention(width, config.heads)
        self.mlp_norm = LayerNorm(width, eps=epsilon)
        self.mlp = MLP(width, config.mlp_width, config.activation)

    def forward(
        self, x_BSD: Tensor, mask: Tensor, form: str, bytes_: Tensor | None = None
    ) -> Tensor:
        """`mask` is (B, 1, S, S), -inf where a position may not look; `bytes_` (2, B, S, D)."""
        first, second = (None,) * self.parts if bytes_ is None else bytes_
        x_BSD = self.add(
            x_BSD, self.attention_norm, lambda x, norm: self.attention(x, norm, mask, form), first
        )
        return self.add(x_BSD, self.mlp_norm, self.mlp, second)


class DecoderBlock(_Block):
    """Self-attention, attention to the source, feed-forward. (B, T, D) -> (B, T, D)"""

    parts = 3

    def __init__(self, config: EncoderDecoderConfig, dropout: float):
        super().__init__(config, dropout)
        width, epsilon = config.width, config.norm_epsilon
        self.attention_norm = LayerNorm(width, eps=epsilon)
        self.attention = SelfAttention(width, config.heads)
        self.cross_norm = LayerNorm(width, eps=epsilon)
        self.cross = CrossAttention(width, config.heads)
        self.mlp_norm = LayerNorm(width, eps=epsilon)
        self.mlp = MLP(width, config.mlp_width, config.activation)

    def forward(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor,
        mask: Tensor,
        cross_mask: Tensor,
        form: str,
        bytes_: Tensor | None = None,
    ) -> Tensor:
        """`mask` is (B, 1, T, T) and `cross_mask` (B, 1, T, S); `bytes_` (3, B, T, D)."""
        first, second, third = (None,) * self.parts if bytes_ is None else bytes_
        x_BTD = self.add(
            x_BTD, self.attention_norm, lambda x, norm: self.attention(x, norm, mask, form), first
        )
        x_BTD = self.add(
            x_BTD,
            self.cross_norm,
            lambda x, norm: self.cross(x, memory_BSD, norm, cross_mask, form),
            second,
        )
        return self.add(x_BTD, self.mlp_norm, self.mlp, third)


class EncoderDecoder(nn.Module):
    """Packed pairs in, hidden states of the targets out; `head_weight` turns these into logits."""

    positions: Tensor | None
    head_bias: Tensor | None

    def __init__(self, config: EncoderDecoderConfig, dropout: float = 0.0):
        super().__init__()
        self.config, self.dropout = config, dropout
        self.attention_form = "sdpa"
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.encoder = nn.ModuleList(EncoderBlock(config, dropout) for _ in range(config.depth))
        self.decoder = nn.ModuleList(
            DecoderBlock(config, dropout) for _ in range(config.decoder_depth)
        )
        if config.norms_first:
            self.encoder_norm = LayerNorm(config.width, eps=config.norm_epsilon)
            self.decoder_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        if config.learns_positions:
            rows = config.first_position + config.context
            self.encoder_positions = nn.Embedding(rows, config.width)
            self.decoder_positions = nn.Embedding(rows, config.width)
            self.encoder_start_norm = LayerNorm(config.width, eps=config.norm_epsilon)
            self.decoder_start_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.register_buffer("positions", _fixed_positions(config), persistent=False)
        bias_1V = torch.zeros(1, config.vocab_size) if config.head_bias else None
        self.register_buffer("head_bias", bias_1V)

    @property
    def blocks(self) -> list[nn.Module]:
        """Encoder and decoder blocks: what is compiled."""
        return [*self.encoder, *self.decoder]

    @property
    def source_start(self) -> tuple[Tensor, LayerNorm | None]:
        """What a source's token meets first: positions (context, D), and a norm or None."""
        if self.positions is not None:
            return self.positions, None
        return self.encoder_positions.weight[self.config.first_position :], self.encoder_start_norm

    @property
    def target_start(self) -> tuple[Tensor, LayerNorm | None]:
        """The same for a target's."""
        if self.positions is not None:
            return self.positions, None
        return self.decoder_positions.weight[self.config.first_position :], self.decoder_start_norm

    @property
    def head_weight(self) -> Tensor:
        """(V, D), or with a bias (V, D + HEAD_COLUMNS)"""
        if self.head_bias is None:
            return self.embedding.weight
        joined = torch.cat([self.embedding.weight, self.head_bias.t()], dim=1)
        return F.pad(joined, (0, HEAD_COLUMNS - 1))

    def encode(
        self, source_BS: Tensor, source_pairs_BS: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The memory (B, S, D) that the decoder looks at."""
        x = self._embed(source_BS, source_pairs_BS, dtype, *self.source_start)
        mask = _bias(_same_pair(source_pairs_BS, source_pairs_BS), x.dtype)
        for block in self.encoder:
            x = block(x, mask, self.attention_form, self._bytes(block, x))
        return self.encoder_norm(x) if self.config.norms_first else x

    def decode(
        self,
        memory_BSD: Tensor,
        source_pairs_BS: Tensor,
        target_BT: Tensor,
        target_pairs_BT: Tensor,
    ) -> Tensor:
        """Hidden states (B, T, D) for the tokens after each of `target_BT`, as the head takes them.

        With a bias: (B, T, D + HEAD_COLUMNS).
        """
        x = self._embed(target_BT, target_pairs_BT, memory_BSD.dtype, *self.target_start)
        length = target_BT.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        mask = _bias(_same_pair(target_pairs_BT, target_pairs_BT) & seen, x.dtype)
        cross_mask = _bias(_same_pair(target_pairs_BT, source_pairs_BS), x.dtype)
        for block in self.decoder:
            x = block(x, memory_BSD, mask, cross_mask, self.attention_form, self._bytes(block, x))
        x = self.decoder_norm(x) if self.config.norms_first else x
        if self.head_bias is None:
            return x
        return F.pad(F.pad(x, (0, 1), value=1.0), (0, HEAD_COLUMNS - 1))

    def forward(
        self,
        source_BS: Tensor,
        source_pairs_BS: Tensor,
        target_BT: Tensor,
        target_pairs_BT: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Hidden states (B, T, D) of type `dtype`, ready for the output head.

        Pairs of a row are numbered in ascending order; source padding has the number -1. Every
        target position needs a source token of its own number, so padding after the last target
        takes that pair's number (it comes last, so nothing looks at it).
        """
        memory = self.encode(source_BS, source_pairs_BS, dtype)
        return self.decode(memory, source_pairs_BS, target_BT, target_pairs_BT)

    def _embed(
        self,
        tokens_BL: Tensor,
        pairs_BL: Tensor,
        dtype: torch.dtype,
        positions_CD: Tensor,
        norm: LayerNorm | None,
    ) -> Tensor:
        x = self.embedding(tokens_BL) * self.config.embedding_scale
        x = x + positions_CD[places(pairs_BL)]
        x = (x if norm is None else norm(x)).to(dtype)
        if self.training and self.dropout:
            x = drop(x, dropout_bytes(*x.shape, device=x.device), self.dropout)
        return x

    def _bytes(self, block: nn.Module, x_BLD: Tensor) -> Tensor | None:
        if not (self.training and self.dropout):
            return None
        return dropout_bytes(int(block.parts), *x_BLD.shape, device=x_BLD.device)  # type: ignore[arg-type]


def _fixed_positions(config: EncoderDecoderConfig) -> Tensor | None:
    """(context, D), where they are not learned."""
    if config.learns_positions:
        return None
    if config.architecture == "m2m_100":
        return tensor2tensor_table(config.first_position, config.context, config.width)
    return sinusoidal_table(config.context, config.width)


def _same_pair(queries_BL: Tensor, keys_BM: Tensor) -> Tensor:
    """(B, 1, L, M): where query and key belong to one pair."""
    return (queries_BL.unsqueeze(2) == keys_BM.unsqueeze(1)).unsqueeze(1)


def _bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where the mask is true, else -inf: to be added to scores, which is vectorized."""
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(~mask, float("-inf"))


@torch.no_grad()
def initialize(model: EncoderDecoder, generator: torch.Generator) -> None:
    """Draw all weights anew, in a fixed order, from `generator`.

    Matrices are normal with variance 1 / inputs, what writes into the residual stream starts at
    zero. The embedding is scaled by sqrt(D) going in and used as it is going out.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("output.weight", "bias")):
            parameter.zero_()
        elif name.startswith("embedding"):
            parameter.normal_(0, model.config.width**-0.5, generator=generator)
        elif parameter.ndim == 2:
            parameter.normal_(0, 1 / math.sqrt(parameter.shape[1]), generator=generator)
        else:
            parameter.fill_(1.0)
