"""Causal self-attention: grouped-query, with QK-norm and rotary positions as options.

Notable ideas:
- Grouped-query attention (arXiv 2305.13245); RMSNorm on queries and keys (arXiv 2302.05442).
- Two forms of the same mathematics. `sdpa` is the library's fused kernel. `matmul` takes the
  queries in blocks and multiplies each with the keys up to its own end, so the upper triangle is
  never computed; on a CPU it is 2 to 3 times as fast at contexts up to 512.
- Rows may hold several texts: a mask then says who sees whom, among what came before.

Shapes: B batch, L length, D model width, H heads, G key/value heads, K width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.layers import HeadNorm, Linear, joined_linear, rotate

QUERY_BLOCK = 128


def causal_attention(
    q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, form: str, mask_B1LL: Tensor | None = None
) -> Tensor:
    """softmax(q k' / sqrt(K)) v where a position sees itself and what came before.

    `form` is 'sdpa' or 'matmul'. `mask_B1LL` is 0 or -inf, the latter for all that comes later,
    too; it is added to the scores. Returns (B, H, L, K).
    """
    if form == "sdpa":
        if mask_B1LL is None:
            return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, is_causal=True)
        return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=mask_B1LL)
    mixed: Tensor = _BlockAttention.apply(q_BHLK, k_BHLK, v_BHLK, mask_B1LL)
    return mixed


class _BlockAttention(torch.autograd.Function):
    """The `matmul` form, with its gradient written out.

    Autograd would give the gradient of the keys transposed in memory, and everything before the
    attention would then run over columns: a fifth of a whole training step on a CPU. Written out,
    the softmax is also divided by its sum only after the product with the values, where there is
    less to divide.
    """

    @staticmethod
    def forward(
        ctx: Any, q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, mask_B1LL: Tensor | None
    ) -> Tensor:
        scale = q_BHLK.shape[-1] ** -0.5
        mixed, saved = [], []
        for start, end in _query_blocks(q_BHLK.shape[-2]):
            scores = q_BHLK[:, :, start:end] @ k_BHLK[:, :, :end].transpose(-1, -2)
            scores = scores.float() * scale
            if mask_B1LL is None:
                rows = torch.arange(start, end, dtype=torch.int32, device=scores.device)
                columns = torch.arange(end, dtype=torch.int32, device=scores.device)
                scores = scores.masked_fill(columns > rows.unsqueeze(-1), float("-inf"))
            else:
                scores = scores + mask_B1LL[:, :, start:end, :end].float()
            exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
            totals = exponentials.sum(-1, keepdim=True)
            exponentials = exponentials.to(v_BHLK.dtype)
            block = exponentials @ v_BHLK[:, :, :end]
            mixed.append((block.float() / totals).to(v_BHLK.dtype))
            saved += [exponentials, totals]
        mixed_BHLK = torch.cat(mixed, dim=-2)
        ctx.save_for_backward(q_BHLK, k_BHLK, v_BHLK, mixed_BHLK, *saved)
        return mixed_BHLK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_BHLK, k_BHLK, v_BHLK, mixed_BHLK, *saved = ctx.saved_tensors
        (grad_BHLK,) = grads
        scale = q_BHLK.shape[-1] ** -0.5
        kind = v_BHLK.dtype
        q_grads: list[Tensor] = []
        k_grad, v_grad = torch.zeros_like(k_BHLK), torch.zeros_like(v_BHLK)
        for number, (start, end) in enumerate(_query_blocks(q_BHLK.shape[-2])):
            exponentials, totals = saved[2 * number : 2 * number + 2]
            grad, mixed = grad_BHLK[:, :, start:end], mixed_BHLK[:, :, start:end]
            weights_grad = grad @ v_BHLK[:, :, :end].transpose(-1, -2)
            inner = (grad.float() * mixed.float()).sum(-1, keepdim=True)
            scores_grad = exponentials.float() * (weights_grad.float() - inner) * (scale / totals)
            scores_grad = scores_grad.to(kind)
            q_grads.append(scores_grad @ k_BHLK[:, :, :end])
            k_grad[:, :, :end] += scores_grad.transpose(-1, -2) @ q_BHLK[:, :, start:end]
            v_grad[:, :, :end] += exponentials.transpose(-1, -2) @ (grad.float() / totals).to(kind)
        return torch.cat(q_grads, dim=-2), k_grad, v_grad, None


def _query_blocks(length: int) -> list[tuple[int, int]]:
    """First and last + 1 position of each block of queries."""
    return [(start, min(start + QUERY_BLOCK, length)) for start in range(0, length, QUERY_BLOCK)]


class CausalSelfAttention(nn.Module):
    """Of norm(x). (B, L, D) -> (B, L, D)"""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        qkv_bias: bool,
        output_bias: bool,
        qk_norm: bool,
        epsilon: float,
    ):
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width
        self.query = Linear(width, heads * head_width, bias=qkv_bias)
        self.key = Linear(width, kv_heads * head_width, bias=qkv_bias)
        self.value = Linear(width, kv_heads * head_width, bias=qkv_bias)
        self.output = Linear(heads * head_width, width, bias=output_bias)
        self.query_norm = HeadNorm(head_width, epsilon) if qk_norm else nn.Identity()
        self.key_norm = HeadNorm(head_width, epsilon) if qk_norm else nn.Identity()

    def forward(
        self,
        x_BLD: Tensor,
        norm: nn.Module,
        rotary: tuple[Tensor, Tensor] | None,
        form: str,
        added_BLGK: Tensor | None = None,
        mask_B1LL: Tensor | None = None,
    ) -> Tensor:
        """`added_BLGK` is added to the values. `mask_B1LL` (0 or -inf) says who sees whom; None:
        every position sees itself and what came before."""
        batch, length, _ = x_BLD.shape
        q_BLHK, k_BLGK, v_BLGK = (
            part.unflatten(-1, (-1, self.head_width))
            for part in joined_linear(x_BLD, [self.query, self.key, self.value], norm)
        )
        q_BLHK, k_BLGK = self.query_norm(q_BLHK), self.key_norm(k_BLGK)
        if added_BLGK is not None:
            v_BLGK = v_BLGK + added_BLGK
        if rotary is not None:
            q_BLHK, k_BLGK = rotate(q_BLHK, *rotary), rotate(k_BLGK, *rotary)
        if self.kv_heads != self.heads:
            group = self.heads // self.kv_heads
            k_BLGK, v_BLGK = (x.repeat_interleave(group, dim=2) for x in (k_BLGK, v_BLGK))
        q, k, v = (x.transpose(1, 2) for x in (q_BLHK, k_BLGK, v_BLGK))
        mixed = causal_attention(q, k, v, form, mask_B1LL)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, -1))
