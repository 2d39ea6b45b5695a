"""A decoder made ready for generating: the same mathematics as models/decoder.py, few operations.

Notable ideas (measured at 14M parameters on one core with AVX512-BF16):
- One new token is bound by reading the weights and by the number of operations, not by arithmetic:
  queries, keys and values are one matrix, gate and up another, the gains of the norms are
  multiplied into the matrix that follows, and oneDNN's packed form is read faster.
- bf16 halves what is read, and only what is read is worth it: the matrices, and the cache of many
  rows. Norms, rotation and the residual stream stay in fp32, more exact and no slower.
- A rotation is one complex product: the outputs of queries and keys are reordered when packed, so
  that the two halves of each pair lie side by side.
- Rows of equal length are read together (`read`), so prompts need no padding and no mask; rows of
  one text, such as many samples of one answer, are read once.

Shapes: B rows, L length, D model width, H heads, G key/value heads, K width of a head, V
vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.decoding.cache import Cache
from xunlian.decoding.packed import Function, product
from xunlian.decoding.prefix import NOTHING, Prefix, attend_to_the_past
from xunlian.decoding.speedrun import Mix, Values, mix_of, values_of
from xunlian.machine.features import read_machine
from xunlian.models.attention import CausalSelfAttention
from xunlian.models.decoder import Block, Decoder
from xunlian.models.layers import LayerNorm, RMSNorm, SwiGLU
from xunlian.models.speedrun import Speedrun

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]

READ_TOKENS = 8192  # prompt tokens in one forward pass
BF16_CACHE_ROWS = 16


@dataclass(frozen=True)
class _Layer:
    """The functions of one block, with their weights inside; the last two of speedrun alone."""

    attention_norm: Function
    joined: Function
    qk_norm: Function | None
    output: Function
    mlp_norm: Function
    mlp: Function
    mix: Mix | None = None
    values: Values | None = None


class Engine:
    """Reads tokens into a cache and gives the logits of the next one."""

    @torch.inference_mode()
    def __init__(self, model: Decoder, precision: str):
        """`precision` is 'fp32' or 'bf16': that of the matrix products."""
        self.config = config = model.config
        self.context = config.context
        self.precision = precision
        self.device = model.embedding.weight.device
        # Attention over a long bf16 cache: the library's kernel is 3x as fast as two products where
        # it has AMX, and half as fast without it (32 rows), given keys that lie turned in memory.
        self._fused = self.device.type != "cpu" or "amx_bf16" in read_machine().features
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._embedding = model.embedding.weight.detach()
        self._positions = None if model.positions is None else model.positions.weight.detach()
        self._turns = None if config.is_gpt2 else torch.complex(model.cos, model.sin)
        self._layers = [
            _prepare(block, dtype, turned=not config.is_gpt2)
            for block in model.blocks
            if isinstance(block, Block)
        ]
        if isinstance(model, Speedrun):
            self._layers = [
                replace(layer, mix=mix_of(model, number), values=values_of(model, number))
                for number, layer in enumerate(self._layers)
            ]
        self._norm, gain = _norm(model.norm)
        self._head = product(model.head_weight, None, gain, dtype)

    def new_cache(self, rows: int, columns: int) -> Cache:
        # A few rows' keys stay in the processor's cache, where fp32 is 3x as fast; many are bound
        # by memory, where bf16 is 2x as fast.
        narrow = self.precision == "bf16" and rows >= BF16_CACHE_ROWS
        return Cache(
            depth=self.config.depth,
            rows=rows,
            kv_heads=self.config.kv_heads,
            columns=columns,
            head_width=self.config.head_width,
            dtype=torch.bfloat16 if narrow else torch.float32,
            device=self.device,
            turned_keys=narrow and not self._fused,
        )

    @torch.inference_mode()
    def read(
        self, cache: Cache, texts: dict[int, list[int]], prefix: Prefix = NOTHING
    ) -> dict[int, Tensor]:
        """Read whole texts, row -> tokens, in place of what these rows held.

        No text may be longer than `cache.used`. What a text begins with as `prefix` does is taken
        from there. Returns row -> logits (V) of its next token.
        """
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, tokens in texts.items():
            rows_of.setdefault(tuple(tokens), []).append(row)
        alike: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for text in rows_of:
            alike.setdefault((len(text), prefix.shared_with(text)), []).append(text)
        logits: dict[int, Tensor] = {}
        for (length, known), group in alike.items():
            size = max(1, READ_TOKENS // length)
            for part in (group[i : i + size] for i in range(0, len(group), size)):
                rows = [rows_of[text] for text in part]
                tokens_BL = torch.tensor(part, device=self.device)
                logits_BV = self._read(cache, rows, tokens_BL, prefix.first(known))
                for same, logits_V in zip(rows, logits_BV, strict=True):
                    logits |= dict.fromkeys(same, logits_V)
            cache.place([row for text in group for row in rows_of[text]], length)
        return logits

    @torch.inference_mode()
    def step(self, cache: Cache, tokens_B: Tensor) -> Tensor:
        """Append one token to every row. Returns the logits (B, V) of the next, in fp32."""
        rows, kv_heads, width = tokens_B.shape[0], self.config.kv_heads, self.config.head_width
        column, end, mask = cache.used, cache.used + 1, cache.mask()

        def attend(layer: int, q_B1HK: Tensor, k_B1GK: Tensor, v_B1GK: Tensor) -> Tensor:
            keys, values = cache.keys[layer], cache.values[layer]
            keys.select(2, column).copy_(k_B1GK.squeeze(1))
            values.select(2, column).copy_(v_B1GK.squeeze(1))
            if cache.dtype == torch.bfloat16 and self._fused:
                # The heads that share a key/value head are queries of one attention.
                q_BGHK = q_B1HK.reshape(rows, kv_heads, -1, width).to(cache.dtype)
                return F.scaled_dot_product_attention(
                    q_BGHK,
                    keys[:, :, :end],
                    values[:, :, :end],
                    attn_mask=None if mask is None else mask[..., :end],
                    scale=1.0,
                )
            # N = B G. For a single row two plain products are 1.3x as fast as the library's kernel.
            q_NHK = q_B1HK.reshape(rows * kv_heads, -1, width).to(cache.dtype)
            scores_NHT = torch.bmm(q_NHK, keys.flatten(0, 1).narrow(1, 0, end).mT)
            if mask is not None:
                scores_NHT.view(rows, kv_heads, -1, end).add_(mask[..., :end])
            return torch.bmm(scores_NHT.softmax(-1), values.flatten(0, 1).narrow(1, 0, end))

        logits_BV = self._forward(tokens_B.unsqueeze(1), cache.positions(), attend)
        cache.used = end
        return logits_BV

    def _read(
        self, cache: Cache, rows: list[list[int]], tokens_BL: Tensor, prefix: Prefix
    ) -> Tensor:
        """`rows` are those of each text; all texts begin with all of `prefix`."""
        (texts, length), known = tokens_BL.shape, len(prefix.tokens)
        column = cache.used - length
        index = torch.tensor([row for same in rows for row in same], device=self.device)
        copies = torch.tensor([len(same) for same in rows], device=self.device)
        group = self.config.heads // self.config.kv_heads

        def attend(layer: int, q_BLHK: Tensor, k_BLGK: Tensor, v_BLGK: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q_BLHK, k_BLGK, v_BLGK))
            k, v = prefix.before(layer, k, v)
            for kept, new in ((cache.keys[layer], k), (cache.values[layer], v)):
                new = new.to(cache.dtype)
                if len(index) > texts:
                    new = new.repeat_interleave(copies, dim=0)
                kept[:, :, column : cache.used].index_copy_(0, index, new)
            if group > 1:
                k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
            return attend_to_the_past(q, k, v).transpose(1, 2)

        positions_1L = torch.arange(known, length, device=self.device).unsqueeze(0)
        return self._forward(tokens_BL[:, known:], positions_1L, attend)

    def _forward(self, tokens_BL: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Logits (B, V) after the last token. `positions` are (B or 1, L)."""
        batch, length = tokens_BL.shape
        heads, kv_heads, width = (self.config.heads, self.config.kv_heads, self.config.head_width)
        x = F.embedding(tokens_BL, self._embedding)
        turns = None
        if self._positions is not None:
            x = x + self._positions[positions]
        elif self._turns is not None:
            turns = self._turns[positions].unsqueeze(2)
        embedded = x = x.view(batch * length, -1)
        for number, layer in enumerate(self._layers):
            if layer.mix is not None:
                x = layer.mix(x, embedded)
            normed = layer.attention_norm(x)
            joined = layer.joined(normed).float()
            joined = joined.view(batch, length, heads + 2 * kv_heads, width)
            qk, v = joined.split([heads + kv_heads, kv_heads], dim=2)
            if layer.values is not None:
                v = v + layer.values(tokens_BL, normed)
            if layer.qk_norm is not None:
                qk = layer.qk_norm(qk)
            if turns is not None:
                pairs = qk.reshape(batch, length, heads + kv_heads, -1, 2)
                qk = torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2)
            q, k = qk.split([heads, kv_heads], dim=2)
            mixed = attend(number, q, k, v)
            # Adding bf16 to fp32 takes 3x as long as converting it first.
            x = x.add_(layer.output(mixed.reshape(batch * length, heads * width)).float())
            x = x.add_(layer.mlp(layer.mlp_norm(x)).float())
        last_BD = x.view(batch, length, -1)[:, -1]
        return self._head(self._norm(last_BD)).float()


def _prepare(block: Block, dtype: torch.dtype, turned: bool) -> _Layer:
    attention_norm, gain = _norm(block.attention_norm)
    joined, qk_norm = _prepare_joined(block.attention, gain, dtype, turned)
    mlp_norm, mlp_gain = _norm(block.mlp_norm)
    mlp = block.mlp
    output = product(mlp.output.weight, mlp.output.bias, None, dtype)
    if isinstance(mlp, SwiGLU):
        bias = None if mlp.up.bias is None else torch.cat([mlp.gate.bias, mlp.up.bias])
        up = product(torch.cat([mlp.gate.weight, mlp.up.weight]), bias, mlp_gain, dtype)
    else:
        up = product(mlp.up.weight, mlp.up.bias, mlp_gain, dtype)

    def swiglu(x: Tensor) -> Tensor:
        gate, rest = up(x).chunk(2, dim=-1)
        return output(F.silu(gate).mul_(rest))

    def gelu(x: Tensor) -> Tensor:
        return output(F.gelu(up(x), approximate="tanh"))

    attention = block.attention
    return _Layer(
        attention_norm=attention_norm,
        joined=joined,
        qk_norm=qk_norm,
        output=product(attention.output.weight, attention.output.bias, None, dtype),
        mlp_norm=mlp_norm,
        mlp=swiglu if isinstance(mlp, SwiGLU) else gelu,
    )


def _prepare_joined(
    attention: CausalSelfAttention, gain: Tensor | None, dtype: torch.dtype, turned: bool
) -> tuple[Function, Function | None]:
    """The joined product of queries, keys and values; the QK-norm, if there is one.

    Queries come out divided by sqrt(K), so that the attention need not scale its scores, and where
    they are `turned`, k and k + K/2, which turn together, as neighbours: a dot product does not
    mind.
    """
    parts = [attention.query, attention.key, attention.value]
    weight = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    width, heads, kv_heads = attention.head_width, attention.heads, attention.kv_heads
    shrink = 1 / math.sqrt(width)
    order = torch.arange(width, device=weight.device)
    if turned:
        order = order.view(2, -1).t().flatten()
        starts = torch.arange(heads + kv_heads, device=weight.device) * width
        rows = (starts.unsqueeze(1) + order).flatten()
        weight[: len(rows)] = weight[rows]
        if bias is not None:
            bias[: len(rows)] = bias[rows]
    if not isinstance(attention.query_norm, RMSNorm):
        weight[: heads * width] *= shrink
        if bias is not None:
            bias[: heads * width] *= shrink
        return product(weight, bias, gain, dtype), None
    assert isinstance(attention.key_norm, RMSNorm)
    query_gain, key_gain = attention.query_norm.weight * shrink, attention.key_norm.weight
    gains = [query_gain] * heads + [key_gain] * kv_heads
    gains_HK = torch.stack(gains)[:, order] * math.sqrt(width)
    normalize = _rms(width, attention.query_norm)
    return product(weight, bias, gain, dtype), lambda x: normalize(x) * gains_HK


def _norm(norm: torch.nn.Module) -> tuple[Function, Tensor | None]:
    """A norm as a function, and the gain to multiply into the matrix that follows it."""
    if isinstance(norm, RMSNorm):
        width = norm.weight.shape[0]
        return _rms(width, norm), norm.weight * math.sqrt(width)
    assert isinstance(norm, LayerNorm)
    shape, weight, bias, epsilon = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return lambda x: F.layer_norm(x, shape, weight, bias, epsilon), None


def _rms(width: int, norm: torch.nn.Module) -> Function:
    """x / sqrt(sum of x^2 + width epsilon): RMSNorm without its gain and without sqrt(width).

    Three operations where the library's function takes six.
    """
    assert isinstance(norm, RMSNorm)
    floor = torch.tensor(math.sqrt(width * norm.epsilon), device=norm.weight.device)
    return lambda x: x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), floor)
