"""An encoder-decoder made ready for translating: models/encoder_decoder.py in few operations.

Notable ideas:
- Of a source, every decoder layer needs its keys and values only; they are computed once and
  serve all beams, which are queries of one attention (beam_cache.py does the same for targets).
- As in engine.py: joined and packed matrices, gains and biases of norms multiplied into what
  follows them, queries divided by sqrt(K) beforehand, and in bf16 norms and the residual stream
  stay in fp32.
- Sources of a batch are padded to the longest: sort them by length before.

Shapes: B sentences, W beams, S source length, D width, H heads, K width of a head, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.decoding.beam_cache import BeamCache, Memory
from xunlian.decoding.packed import Function, product
from xunlian.models.confined import CrossAttention, SelfAttention
from xunlian.models.encoder_decoder import DecoderBlock, EncoderBlock, EncoderDecoder
from xunlian.models.layers import MLP, OTHER_ACTIVATIONS, LayerNorm, Linear


@dataclass(frozen=True)
class _Part:
    """One step of a block: x + output(what(enter(before(x)))), then after(...).

    `before` normalizes where norms come first, `after` where they come last.
    """

    before: Function
    enter: Function
    output: Function
    after: Function


@dataclass(frozen=True)
class _Layer:
    attention: _Part
    cross: _Part | None
    mlp: _Part


class PairEngine:
    """Reads sources, then token by token the targets of every beam."""

    @torch.inference_mode()
    def __init__(self, model: EncoderDecoder, precision: str):
        """`precision` is 'fp32' or 'bf16': that of the matrix products."""
        self.config = model.config
        self.precision = precision
        self.device = model.embedding.weight.device
        self.dtype = dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._embedding = model.embedding.weight.detach()
        # Detached: an engine learns nothing.
        self._source_start = _detached(*model.source_start)
        self._target_start = _detached(*model.target_start)
        self._encoder = [_prepare(b, dtype) for b in model.encoder if isinstance(b, EncoderBlock)]
        blocks = [block for block in model.decoder if isinstance(block, DecoderBlock)]
        self._decoder = [_prepare(block, dtype) for block in blocks]
        self._memory_norm: Function = _nothing
        self._last_norm: Function = _nothing
        gain = bias = None
        if model.config.norms_first:
            self._memory_norm, gain, bias = _norm(model.encoder_norm)
        self._sources = [
            _joined([block.cross.key, block.cross.value], gain, bias, dtype) for block in blocks
        ]
        gain = bias = None
        if model.config.norms_first:
            self._last_norm, gain, bias = _norm(model.decoder_norm)
        head = model.embedding.weight
        head_bias = None if bias is None else head @ bias
        if model.head_bias is not None:
            head_bias = model.head_bias[0] if head_bias is None else head_bias + model.head_bias[0]
        self._head = product(head, head_bias, gain, dtype)

    def begin(self, sources: Sequence[Sequence[int]]) -> BeamCache:
        """Read sources, as `encode`; what comes back begins with one beam for each."""
        return BeamCache(self.encode(sources))

    @torch.inference_mode()
    def encode(self, sources: Sequence[Sequence[int]]) -> Memory:
        """Read sources, each of at least one token and no longer than the context."""
        lengths = [len(source) for source in sources]
        longest, heads = max(lengths), self.config.heads
        tokens_BS = torch.zeros(len(sources), longest, dtype=torch.long)
        for row, source in enumerate(sources):
            tokens_BS[row, : len(source)] = torch.tensor(source)
        mask = None
        if min(lengths) < longest:
            padding_BS = torch.arange(longest) >= torch.tensor(lengths).unsqueeze(1)
            mask = torch.zeros(padding_BS.shape, dtype=self.dtype).masked_fill_(
                padding_BS, float("-inf")
            )
            mask = mask[:, None, None].to(self.device)
        positions, norm = self._source_start
        x = norm(self._embed(tokens_BS.to(self.device), positions[:longest]))

        def attend(joined: Tensor) -> Tensor:
            q, k, v = _split_heads(joined, len(sources), 3, heads)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
            return mixed.transpose(1, 2).reshape(x.shape)

        for layer in self._encoder:
            x = _apply(layer.attention, x, attend)
            x = _apply(layer.mlp, x, _nothing)
        x = self._memory_norm(x)
        keys, values = [], []
        for joined in self._sources:
            k, v = _split_heads(joined(x), len(sources), 2, heads)
            keys.append(k.contiguous())
            values.append(v.contiguous())
        return Memory(keys, values, mask)

    @torch.inference_mode()
    def step(
        self, cache: BeamCache, tokens_BW: Tensor, watch: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Append one token to every beam.

        Returns hidden states (B W, D) for `logits`, and how much each source token was looked at
        by layer `watch`, averaged over the heads, (B, W, S), if one is named.
        """
        batch, heads, watched = len(tokens_BW), self.config.heads, None
        positions, norm = self._target_start
        x = norm(self._embed(tokens_BW, positions[cache.length]))
        slots, mask = cache.open()
        memory = cache.memory

        def attend(number: int, joined: Tensor) -> Tensor:
            q, k, v = _split_heads(joined, batch, 3, heads)
            keys, values = cache.keys[number], cache.values[number]
            keys[:, :, slots] = k
            values[:, :, slots] = v
            mixed, _ = _attention(q, keys, values, mask)
            return mixed

        def look(number: int, joined: Tensor) -> Tensor:
            nonlocal watched
            (q,) = _split_heads(joined, batch, 1, heads)
            mixed, weights = _attention(q, memory.keys[number], memory.values[number], memory.mask)
            if number == watch:
                watched = weights.float().mean(1)
            return mixed

        for number, layer in enumerate(self._decoder):
            x = _apply(layer.attention, x, partial(attend, number))
            if layer.cross is not None:
                x = _apply(layer.cross, x, partial(look, number))
            x = _apply(layer.mlp, x, _nothing)
        return x, watched

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Of the next token, (N, V), in fp32."""
        return self._head(self._last_norm(hidden_ND)).float()

    def _embed(self, tokens_BL: Tensor, positions: Tensor) -> Tensor:
        """(B L, D)"""
        x = F.embedding(tokens_BL, self._embedding)
        return torch.add(positions, x, alpha=self.config.embedding_scale).flatten(0, 1)


def _detached(positions: Tensor, norm: LayerNorm | None) -> tuple[Tensor, Function]:
    return positions.detach(), _nothing if norm is None else norm


def _apply(part: _Part, x: Tensor, what: Function) -> Tensor:
    inner = what(part.enter(part.before(x)))
    # Adding bf16 to fp32 takes 3x as long as converting it first.
    return part.after(x.add_(part.output(inner).float()))


def _attention(
    q_BHWK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What each query finds, (B W, D), and the weights (B, H, W, N)."""
    batch, heads, beams, width = q_BHWK.shape
    # The library's batched product wants the first two dimensions as one.
    q, k, v = (x.reshape(batch * heads, -1, width) for x in (q_BHWK, k_BHNK, v_BHNK))
    scores = torch.bmm(q, k.mT).view(batch, heads, beams, -1)
    if mask is not None:
        scores.add_(mask)
    weights = scores.softmax(-1)
    mixed = torch.bmm(weights.view(batch * heads, beams, -1), v)
    mixed = mixed.view(batch, heads, beams, width).transpose(1, 2)
    return mixed.reshape(batch * beams, heads * width), weights


def _split_heads(joined: Tensor, batch: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """`parts` tensors that lie side by side, each as (B, H, L, K)."""
    wide = joined.view(batch, -1, parts, heads, joined.shape[-1] // parts // heads)
    return wide.permute(2, 0, 3, 1, 4).unbind(0)


def _nothing(x: Tensor) -> Tensor:
    return x


def _prepare(block: EncoderBlock | DecoderBlock, dtype: torch.dtype) -> _Layer:
    first, attention = block.norms_first, block.attention
    cross = None
    if isinstance(block, DecoderBlock):
        cross = _part(block.cross_norm, first, [block.cross.query], block.cross, dtype)
    entries = [attention.query, attention.key, attention.value]
    return _Layer(
        attention=_part(block.attention_norm, first, entries, attention, dtype),
        cross=cross,
        mlp=_part(block.mlp_norm, first, [block.mlp.up], block.mlp, dtype),
    )


def _part(
    norm: LayerNorm,
    first: bool,
    entries: list[Linear],
    inner: SelfAttention | CrossAttention | MLP,
    dtype: torch.dtype,
) -> _Part:
    before, gain, bias = _norm(norm) if first else (_nothing, None, None)
    after = _nothing if first else norm
    if isinstance(inner, MLP):
        enter = _activated(
            _joined(entries, gain, bias, dtype, relu=inner.activation == "relu"), inner
        )
    else:
        enter = _joined(entries, gain, bias, dtype, shrink=norm.weight.shape[0] / inner.heads)
    output = product(inner.output.weight, inner.output.bias, None, dtype)
    return _Part(before, enter, output, after)


def _activated(enter: Function, mlp: MLP) -> Function:
    """With the activation behind it, where it is not in it."""
    activate = OTHER_ACTIVATIONS.get(mlp.activation)
    return enter if activate is None else lambda x: activate(enter(x))


def _norm(norm: LayerNorm) -> tuple[Function, Tensor, Tensor]:
    """A norm without its gain and bias; these."""
    shape, epsilon = norm.normalized_shape, norm.eps
    return lambda x: F.layer_norm(x, shape, eps=epsilon), norm.weight, norm.bias


def _joined(
    layers: list[Linear],
    gain: Tensor | None,
    bias_before: Tensor | None,
    dtype: torch.dtype,
    *,
    shrink: float | None = None,
    relu: bool = False,
) -> Function:
    """Layers as one product of (x gain + bias_before); the first divided by sqrt(shrink)."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    if bias_before is not None:
        bias = bias + weight @ bias_before
    if shrink is not None:
        queries = layers[0].weight.shape[0]
        scale = torch.ones_like(bias)
        scale[:queries] /= math.sqrt(shrink)
        weight, bias = weight * scale.unsqueeze(1), bias * scale
    return product(weight, bias, gain, dtype, relu=relu)
