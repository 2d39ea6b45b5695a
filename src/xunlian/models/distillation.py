"""Learning from a teacher's probabilities, a chunk of positions at a time.

The loss of a position is (G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural
Network", arXiv 1503.02531)

    w · cross-entropy(target) + (1 - w) · T² · KL(softmax(teacher / T) || softmax(student / T))

T² keeps the size of the gradient as T changes.

Notable idea: the teacher's logits never exist whole either. It leaves its hidden states, which are
hundreds of times smaller, and its head is applied chunk by chunk beside the student's.

Shapes: N positions, D width of the student, E of the teacher, V vocabulary, K tokens that both
know (their tables may have further rows that no token has).
"""

from torch import Tensor
from torch.nn import functional as F

from xunlian.models.losses import IGNORED, hard_loss


def distilled_gradients(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    taught_NE: Tensor,
    teacher_KE: Tensor,
    temperature: float,
    hard_weight: float,
    smoothing: float = 0.0,
    by_weight: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `losses.chunk_gradients`, beside a teacher's hidden states and its head.

    Positions whose target is IGNORED add nothing to either part of the loss.
    """
    logits_NV = F.linear(hidden_ND, weight_VD).float()
    hard_N1, hard_slopes_NV = hard_loss(logits_NV, targets_N, smoothing)
    taught_NK = F.linear(taught_NE, teacher_KE).float()
    soft_N1, soft_slopes_NK = soft_loss(logits_NV[:, : len(teacher_KE)], taught_NK, temperature)
    soft_slopes_NV = F.pad(soft_slopes_NK, (0, len(weight_VD) - len(teacher_KE)))
    kept_N1 = (targets_N != IGNORED).unsqueeze(-1)
    soft_weight = 1 - hard_weight
    losses_N1 = hard_weight * hard_N1 + soft_weight * soft_N1
    slopes_NV = (hard_weight * hard_slopes_NV + soft_weight * soft_slopes_NV) * kept_N1
    slopes_NV = slopes_NV.to(hidden_ND.dtype)
    return (
        (losses_N1 * kept_N1).sum(),
        slopes_NV @ weight_VD,
        slopes_NV.t() @ hidden_ND if by_weight else None,
    )


def soft_loss(logits_NK: Tensor, taught_NK: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """T² KL(teacher || student) in nats, (N, 1), and its gradient by the student's logits."""
    student_NK = (logits_NK / temperature).log_softmax(-1)
    teacher_NK = (taught_NK / temperature).log_softmax(-1)
    likely_NK = teacher_NK.exp()
    divergence_N1 = (likely_NK * (teacher_NK - student_NK)).sum(-1, keepdim=True)
    return temperature**2 * divergence_N1, temperature * (student_NK.exp() - likely_NK)
