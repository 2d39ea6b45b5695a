"""Cross-entropy straight from hidden states, a chunk of positions at a time.

Notable idea: logits of a whole batch never exist. Each chunk's logits are turned into its loss
*and* its gradient at once, in the forward pass (as in Liger Kernel, arXiv 2410.10989), so nothing
is recomputed and memory is one chunk's. Positions where nothing is to be predicted (prompts of a
chat, ends of packed rows) do not go through the head at all.

Shapes: N positions, D model width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -1
CHUNK_LOGITS = 1 << 22  # logits alive at once on a CPU: 16 MB in fp32
GPU_BYTES_PER_LOGIT = 160  # of the memory of a GPU


def chunk_logits(device: torch.device) -> int:
    """Logits alive at once."""
    if device.type != "cuda":
        return CHUNK_LOGITS
    return gpu_chunk_logits(torch.cuda.get_device_properties(device).total_memory)


def gpu_chunk_logits(memory: float) -> int:
    """Logits alive at once on a GPU with `memory` bytes: a power of two, 2^27 with 24 GB.

    A chunk must fill the device, and each reads and writes the gradient of the head: with 2^29 the
    loss of GPT-2's head takes 0.88 of the time that it takes with 2^27. Compiled they take a 16th
    of the memory at most, eager a ninth.
    """
    return 1 << max(22, int(memory / GPU_BYTES_PER_LOGIT).bit_length() - 1)


def chunk_positions(weight_VD: Tensor) -> int:
    """Positions in one chunk."""
    return max(64, chunk_logits(weight_VD.device) // weight_VD.shape[0])


Places = slice | Tensor
"""Positions, by which to index."""


def chunks_of(targets_N: Tensor, size: int) -> list[Places]:
    """The positions of each chunk. Those whose target is IGNORED come last, and no chunk is made
    of them alone; all chunks have the same size, or compiled code would be made for each.

    On an accelerator all positions stay in their order: the host would have to wait for the number
    of targets.
    """
    ignored_N = targets_N == IGNORED
    if targets_N.device.type != "cpu" or not ignored_N.any():
        return [slice(start, start + size) for start in range(0, len(targets_N), size)]
    order_N = ignored_N.to(torch.uint8).argsort(stable=True)
    learned = len(targets_N) - int(ignored_N.sum())
    return [order_N[start : start + size] for start in range(0, learned, size)]


def chunk_loss(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Sum of the cross-entropies of one chunk, in nats; positions whose target is IGNORED add 0."""
    logits_NV = F.linear(hidden_ND, weight_VD).float()
    return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")


def chunk_gradients(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    smoothing: float = 0.0,
    by_weight: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Loss sum of a chunk and its gradients by hidden states (N, D) and weight (V, D).

    With `smoothing` (arXiv 1512.00567) the target has the probability 1 - smoothing, and all tokens
    share the rest.
    """
    logits_NV = F.linear(hidden_ND, weight_VD).float()
    losses_N1, slopes_NV = hard_loss(logits_NV, targets_N, smoothing)
    kept_N1 = (targets_N != IGNORED).unsqueeze(-1)
    slopes_NV = (slopes_NV * kept_N1).to(hidden_ND.dtype)
    return (
        (losses_N1 * kept_N1).sum(),
        slopes_NV @ weight_VD,
        slopes_NV.t() @ hidden_ND if by_weight else None,
    )


def hard_loss(logits_NV: Tensor, targets_N: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each position, (N, 1), and its gradient by the logits, also where the target
    is IGNORED."""
    total_N1 = logits_NV.logsumexp(-1, keepdim=True)
    index_N1 = targets_N.clamp(min=0).unsqueeze(-1)
    losses_N1 = total_N1 - (1 - smoothing) * logits_NV.gather(-1, index_N1)
    if smoothing:
        losses_N1 = losses_N1 - smoothing * logits_NV.mean(-1, keepdim=True)
    # 32-bit numbers: a processor compares twice as many at once.
    columns = torch.arange(logits_NV.shape[-1], dtype=torch.int32, device=index_N1.device)
    is_target = columns == index_N1.int()
    wanted_NV = is_target.float() * (1 - smoothing) + smoothing / logits_NV.shape[-1]
    return losses_N1, (logits_NV - total_N1).exp() - wanted_NV


ChunkGradients = Callable[..., tuple[Tensor, Tensor, Tensor | None]]
"""`chunk_gradients`, or a function of the two parts of `Taught`, too."""

Taught = tuple[Tensor, Tensor]
"""What a teacher left (distillation.py): hidden states (N, E), and its head (K, E)."""


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        gradients: ChunkGradients,
        taught: Taught | None,
    ) -> Tensor:
        cast_VD = weight_VD.to(hidden_ND.dtype)
        loss = torch.zeros((), device=hidden_ND.device)
        hidden_grad = torch.zeros_like(hidden_ND)
        weight_grad = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        for part in chunks_of(targets_N, chunk_positions(weight_VD)):
            beside = () if taught is None else (taught[0][part], taught[1])
            chunk, by_hidden, by_weight = gradients(
                hidden_ND[part], cast_VD, targets_N[part], *beside
            )
            loss += chunk
            hidden_grad[part] = by_hidden
            if weight_grad is not None:
                assert by_weight is not None
                weight_grad += by_weight
        ctx.save_for_backward(hidden_grad, weight_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        weight_grad = None if weight_grad is None else weight_grad.mul_(grads[0])
        return hidden_grad.mul_(grads[0]), weight_grad, None, None, None


def cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    gradients: ChunkGradients = chunk_gradients,
    taught: Taught | None = None,
) -> Tensor:
    """Sum over positions of -log p(target), in nats; differentiable; logits never exist whole.

    Args:
        hidden_ND: hidden states, bf16 or fp32.
        weight_VD: the output head, fp32.
        targets_N: token ids, IGNORED where there is nothing to predict.
        gradients: `chunk_gradients`, or a compiled form of it; without `by_weight` for a head that
            learns nothing.
        taught: of a teacher, for gradients that take it.
    """
    if torch.is_grad_enabled():
        result: Tensor = _ChunkedCrossEntropy.apply(
            hidden_ND, weight_VD, targets_N, gradients, taught
        )
        return result
    cast_VD = weight_VD.to(hidden_ND.dtype)
    parts = chunks_of(targets_N, chunk_positions(weight_VD))
    return sum(
        (chunk_loss(hidden_ND[part], cast_VD, targets_N[part]) for part in parts),
        torch.zeros((), device=hidden_ND.device),
    )
