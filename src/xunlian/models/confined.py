"""Attention confined by a mask: among packed pairs, and from targets to their sources.

Notable idea: with rows of a few dozen tokens the products are small, and what costs time on a CPU
is the softmax. `matmul` writes it out with its gradient, so that it compiles into two passes over
the scores; `sdpa` is the library's fused kernel, for accelerators.

Shapes: B rows, L queries, M keys, D width, H heads, K width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.layers import Linear, joined_linear


def confined_attention(
    q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_B1LM: Tensor, form: str
) -> Tensor:
    """softmax(q k' / sqrt(K) + mask) v. The mask is 0 or -inf; every query needs a key.

    `form` is 'sdpa' or 'matmul'. Returns (B, H, L, K).
    """
    if form == "sdpa":
        return F.scaled_dot_product_attention(q_BHLK, k_BHMK, v_BHMK, attn_mask=mask_B1LM)
    mixed: Tensor = _MaskedAttention.apply(q_BHLK, k_BHMK, v_BHMK, mask_B1LM)
    return mixed


class _MaskedAttention(torch.autograd.Function):
    """The `matmul` form, with its gradient written out (see attention.py for why)."""

    @staticmethod
    def forward(
        ctx: Any, q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_B1LM: Tensor
    ) -> Tensor:
        scores = (q_BHLK @ k_BHMK.transpose(-1, -2)).float() * q_BHLK.shape[-1] ** -0.5
        scores = scores + mask_B1LM.float()
        exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
        totals = exponentials.sum(-1, keepdim=True)
        exponentials = exponentials.to(v_BHMK.dtype)
        mixed = ((exponentials @ v_BHMK).float() / totals).to(v_BHMK.dtype)
        ctx.save_for_backward(q_BHLK, k_BHMK, v_BHMK, mixed, exponentials, totals)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_BHLK, k_BHMK, v_BHMK, mixed, exponentials, totals = ctx.saved_tensors
        (grad,) = grads
        kind = v_BHMK.dtype
        weights_grad = grad @ v_BHMK.transpose(-1, -2)
        inner = (grad.float() * mixed.float()).sum(-1, keepdim=True)
        slope = q_BHLK.shape[-1] ** -0.5 / totals
        scores_grad = (exponentials.float() * (weights_grad.float() - inner) * slope).to(kind)
        return (
            scores_grad @ k_BHMK,
            scores_grad.transpose(-1, -2) @ q_BHLK,
            exponentials.transpose(-1, -2) @ (grad.float() / totals).to(kind),
            None,
        )


class _Attention(nn.Module):
    """The four matrices of an attention, all with biases."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.output = Linear(width, width)

    def _heads(self, parts_BLD: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Each as (B, H, L, K)."""
        return tuple(x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts_BLD)

    def _joined(self, mixed_BHLK: Tensor) -> Tensor:
        return self.output(mixed_BHLK.transpose(1, 2).flatten(2))


class SelfAttention(_Attention):
    """Of norm(x), or of x where `norm` is None. (B, L, D) -> (B, L, D)"""

    def forward(
        self, x_BLD: Tensor, norm: nn.Module | None, mask_B1LL: Tensor, form: str
    ) -> Tensor:
        layers = [self.query, self.key, self.value]
        q_BHLK, k_BHLK, v_BHLK = self._heads(joined_linear(x_BLD, layers, norm))
        return self._joined(confined_attention(q_BHLK, k_BHLK, v_BHLK, mask_B1LL, form))


class CrossAttention(_Attention):
    """From norm(x), or from x where `norm` is None, to a memory. (B, L, D) -> (B, L, D)"""

    def forward(
        self,
        x_BLD: Tensor,
        memory_BMD: Tensor,
        norm: nn.Module | None,
        mask_B1LM: Tensor,
        form: str,
    ) -> Tensor:
        (q_BHLK,) = self._heads(joined_linear(x_BLD, [self.query], norm))
        keys_values = joined_linear(memory_BMD, [self.key, self.value], None)
        k_BHMK, v_BHMK = self._heads(keys_values)
        return self._joined(confined_attention(q_BHLK, k_BHMK, v_BHMK, mask_B1LM, form))
