"""The log-probability of each token, for losses that are no sum over tokens.

Notable idea: what such a loss makes of a token is known only after all of them, so the way back
computes the logits of each chunk a second time. They never exist whole, as in losses.py.

Shapes: N positions, D model width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.models.losses import IGNORED, ChunkGradients, chunk_positions, chunks_of


def log_prob_gradients(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    slopes_N: Tensor,
    by_weight: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of one chunk: log p of its targets, and the gradients by hidden states (N, D) and weight
    (V, D), where `slopes_N` are those by the log-probabilities."""
    log_p_NV = F.linear(hidden_ND, weight_VD).float().log_softmax(-1)
    # 32-bit numbers: a processor compares twice as many at once.
    columns = torch.arange(log_p_NV.shape[-1], dtype=torch.int32, device=targets_N.device)
    is_target = columns == targets_N.int().unsqueeze(-1)
    kept_N1 = ((targets_N != IGNORED) * slopes_N).unsqueeze(-1)
    slopes_NV = ((is_target.float() - log_p_NV.exp()) * kept_N1).to(hidden_ND.dtype)
    return (
        (log_p_NV * is_target).sum(-1),
        slopes_NV @ weight_VD,
        slopes_NV.t() @ hidden_ND if by_weight else None,
    )


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, gradients: ChunkGradients
    ) -> Tensor:
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        ctx.gradients = gradients
        return _log_probs(hidden_ND, weight_VD, targets_N)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        cast_VD = weight_VD.to(hidden_ND.dtype)
        hidden_grad = torch.zeros_like(hidden_ND)
        weight_grad = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        for part in chunks_of(targets_N, chunk_positions(weight_VD)):
            _, hidden_grad[part], by_weight = ctx.gradients(
                hidden_ND[part], cast_VD, targets_N[part], grads[0][part]
            )
            if weight_grad is not None:
                weight_grad += by_weight
        return hidden_grad, weight_grad, None, None


def _log_probs(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    cast_VD = weight_VD.to(hidden_ND.dtype)
    log_p_N = torch.zeros(len(hidden_ND), device=hidden_ND.device)
    for part in chunks_of(targets_N, chunk_positions(weight_VD)):
        logits_NV = F.linear(hidden_ND[part], cast_VD).float()
        log_p_N[part] = -F.cross_entropy(
            logits_NV, targets_N[part], ignore_index=IGNORED, reduction="none"
        )
    return log_p_N


def token_log_probs(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    gradients: ChunkGradients = log_prob_gradients,
) -> Tensor:
    """log p(target) of each position (N,), 0 where it is IGNORED; differentiable.

    Args:
        hidden_ND: hidden states, bf16 or fp32.
        weight_VD: the output head, fp32.
        targets_N: token ids, IGNORED where there is nothing to predict.
        gradients: `log_prob_gradients`, or a compiled form of it; without `by_weight` for a head
            that learns nothing.
    """
    if torch.is_grad_enabled():
        result: Tensor = _TokenLogProbs.apply(hidden_ND, weight_VD, targets_N, gradients)
        return result
    return _log_probs(hidden_ND, weight_VD, targets_N)
