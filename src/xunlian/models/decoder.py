"""The decoder: a causal language model over one stream of tokens.

Notable ideas:
- Layouts that mainstream engines load without custom code: Qwen3 (RMSNorm, rotary positions,
  QK-norm, SwiGLU; arXiv 2505.09388), Llama and Mistral (the same without QK-norm; arXiv
  2302.13971), Qwen2 (Llama with biases on queries, keys and values; arXiv 2407.10671), and GPT-2
  (LayerNorm, learned positions, GELU, biases). A few switches of one class tell them apart.
- Output projections of every block start at zero, so that each block starts as the identity
  (arXiv 2203.03466 section D.2), which is worth about a tenth of the training; but for heads that
  copy (copying.py).
- `forward` stops before the output head: the loss (losses.py) takes the head in chunks.

Shapes: B batch, L length, D model width, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.attention import CausalSelfAttention
from xunlian.models.dropout import drop, dropout_bytes
from xunlian.models.layers import (
    GELUMLP,
    Linear,
    RopeScaling,
    SwiGLU,
    make_norm,
    rotary_table,
)

Architecture = Literal["qwen3", "qwen2", "llama", "mistral", "gpt2", "speedrun"]


@dataclass(frozen=True)
class DecoderConfig:
    """All that fixes the shape and the mathematics of a decoder."""

    architecture: Architecture
    vocab_size: int
    depth: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    context: int
    tied: bool
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-6
    rope_scaling: RopeScaling | None = None

    @property
    def is_gpt2(self) -> bool:
        return self.architecture == "gpt2"

    @property
    def qk_norm(self) -> bool:
        return self.architecture in ("qwen3", "speedrun")

    @property
    def qkv_bias(self) -> bool:
        return self.architecture in ("gpt2", "qwen2")


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). (B, L, D) -> (B, L, D)"""

    def __init__(self, config: DecoderConfig, dropout: float):
        super().__init__()
        norm = "layer" if config.is_gpt2 else "rms"
        mlp = GELUMLP if config.is_gpt2 else SwiGLU
        self.attention_norm = make_norm(norm, config.width, config.norm_epsilon)
        self.attention = CausalSelfAttention(
            width=config.width,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_width=config.head_width,
            qkv_bias=config.qkv_bias,
            output_bias=config.is_gpt2,
            qk_norm=config.qk_norm,
            epsilon=config.norm_epsilon,
        )
        self.mlp_norm = make_norm(norm, config.width, config.norm_epsilon)
        self.mlp = mlp(config.width, config.mlp_width, bias=config.is_gpt2)
        self.dropout = dropout

    def forward(
        self,
        x_BLD: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        form: str,
        bytes_: Tensor | None = None,
        mask_B1LL: Tensor | None = None,
    ) -> Tensor:
        """`bytes_` (2, B, L, D) decide what dropout takes; None: nothing. `mask_B1LL` as the
        attention has it."""
        first, second = (None, None) if bytes_ is None else bytes_
        attended = self.attention(x_BLD, self.attention_norm, rotary, form, mask_B1LL=mask_B1LL)
        x_BLD = x_BLD + drop(attended, first, self.dropout)
        return x_BLD + drop(self.mlp(x_BLD, self.mlp_norm), second, self.dropout)


class Decoder(nn.Module):
    """Tokens in, hidden states out; `head_weight` turns these into logits."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: DecoderConfig, dropout: float = 0.0):
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.attention_form = "sdpa"
        self.neftune_alpha = 0.0
        # Blocks that do not learn yet, by number, and are left out: they are the identity.
        self.waiting: frozenset[int] = frozenset()
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.context, config.width) if config.is_gpt2 else None
        self.blocks = nn.ModuleList(self._block(number) for number in range(config.depth))
        self.norm = make_norm(
            "layer" if config.is_gpt2 else "rms", config.width, config.norm_epsilon
        )
        self.head = None if config.tied else Linear(config.width, config.vocab_size, bias=False)
        if not config.is_gpt2:
            cos, sin = rotary_table(
                config.context, config.head_width, config.rope_theta, config.rope_scaling
            )
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)

    def _block(self, number: int) -> Block:
        return Block(self.config, self.dropout)

    @property
    def head_weight(self) -> Tensor:
        """(V, D)"""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(self, tokens_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Hidden states (B, L, D) of type `dtype`, normalized, ready for the output head.

        `tokens_BL` holds token ids; L may not exceed the context.
        """
        x_BLD, rotary = self._enter(tokens_BL, dtype)
        for block in self._learning:
            x_BLD = block(x_BLD, rotary, self.attention_form, self._bytes(2, x_BLD))
        return self.norm(x_BLD)

    @property
    def _learning(self) -> list[nn.Module]:
        return [block for number, block in enumerate(self.blocks) if number not in self.waiting]

    def confined(
        self,
        tokens_BL: Tensor,
        numbers_BL: Tensor,
        positions_BL: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """As `forward`, of rows that hold several texts: none sees another.

        Args:
            numbers_BL: which text of its row a token belongs to.
            positions_BL: where in its text it stands.
        """
        same_BLL = numbers_BL.unsqueeze(2) == numbers_BL.unsqueeze(1)
        lengths_BL = same_BLL.sum(-1)
        x_BLD, rotary = self._enter(tokens_BL, dtype, positions_BL, lengths_BL)
        mask_B1LL = torch.zeros(same_BLL.shape, dtype=dtype, device=x_BLD.device)
        mask_B1LL = mask_B1LL.masked_fill_(~same_BLL.tril_(), float("-inf")).unsqueeze(1)
        for block in self.blocks:
            x_BLD = block(x_BLD, rotary, self.attention_form, self._bytes(2, x_BLD), mask_B1LL)
        return self.norm(x_BLD)

    def _enter(
        self,
        tokens_BL: Tensor,
        dtype: torch.dtype,
        positions_BL: Tensor | None = None,
        lengths_BL: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """What the first block reads, and the rotation of each position, if there is one.

        `positions_BL` are 0, 1, 2, ... by default; `lengths_BL` those of the texts.
        """
        length = tokens_BL.shape[1]
        assert length <= self.config.context
        where = slice(length) if positions_BL is None else positions_BL
        x_BLD = self.embedding(tokens_BL)
        if self.training and self.neftune_alpha:
            lengths = length if lengths_BL is None else lengths_BL.unsqueeze(-1)
            x_BLD = x_BLD + embedding_noise(x_BLD, lengths, self.neftune_alpha)
        rotary = None
        if self.positions is not None:
            x_BLD = x_BLD + self.positions.weight[where]
        else:
            rotary = (self.cos[where], self.sin[where])
        x_BLD = x_BLD.to(dtype)
        bytes_ = self._bytes(1, x_BLD)
        if bytes_ is not None:
            x_BLD = drop(x_BLD, bytes_[0], self.dropout)
        return x_BLD, rotary

    def _bytes(self, places: int, x_BLD: Tensor) -> Tensor | None:
        """(places, B, L, D): what decides dropout there; None: nothing is dropped."""
        if not (self.training and self.dropout):
            return None
        return dropout_bytes(places, *x_BLD.shape, device=x_BLD.device)

    def logits(self, tokens_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Logits (B, L, V), whole: for short texts; training and evaluation chunk them."""
        hidden_BLD = self(tokens_BL, dtype)
        return F.linear(hidden_BLD, self.head_weight.to(dtype)).float()


def embedding_noise(x_BLD: Tensor, lengths: Tensor | int, alpha: float) -> Tensor:
    """Uniform noise in ±alpha / sqrt(length width), of the shape of `x_BLD` (NEFTune, arXiv
    2310.05914, algorithm 1). `lengths` are those of the texts, for the whole batch or (B, L, 1).
    """
    noise_BLD = torch.empty_like(x_BLD).uniform_(-1, 1)
    return noise_BLD * (alpha / (torch.as_tensor(lengths) * x_BLD.shape[-1]) ** 0.5)


@torch.no_grad()
def initialize(model: Decoder, generator: torch.Generator) -> None:
    """Draw all weights anew, in a fixed order, from `generator`.

    Matrices are normal with variance 1 / inputs; what writes into the residual stream starts at
    zero, and so does an untied head, so the first loss is log(V). A tied embedding is the head,
    too: its logits must start small, but not what it gives to the first block, beside which the
    blocks' first steps would be large. So the last norm starts with a small gain.
    """
    config = model.config
    std, gain = EMBEDDING_STD, 1.0
    if config.tied:
        std, gain = (0.02, 1.0) if config.is_gpt2 else (TIED_EMBEDDING_STD, TIED_GAIN)
    for name, parameter in model.named_parameters():
        if name.endswith(("output.weight", "head.weight", "bias")):
            parameter.zero_()
        elif name.startswith(("embedding", "positions")):
            parameter.normal_(0, std, generator=generator)
        elif name == "norm.weight":
            parameter.fill_(gain)
        elif parameter.ndim == 2:
            parameter.normal_(0, 1 / math.sqrt(parameter.shape[1]), generator=generator)
        else:
            parameter.fill_(1.0)


EMBEDDING_STD = 0.5
TIED_EMBEDDING_STD, TIED_GAIN = 0.1, 0.2
