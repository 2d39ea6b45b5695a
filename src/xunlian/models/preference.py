"""What a model learns from preferences: the probabilities of whole answers, compared.

DPO (arXiv 2305.18290, its conservative form with smoothing from
https://ericmitchell.ai/cdpo.pdf), ORPO (arXiv 2403.07691) and SimPO (arXiv 2405.14734).

Shapes: R rows of two lines, chosen and rejected; L length; P preferences of a row; D model width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.models.decoder import Decoder
from xunlian.models.log_probs import log_prob_gradients, token_log_probs
from xunlian.models.losses import IGNORED, ChunkGradients

_SURE = -1e-6  # a mean log-probability above it is taken for this: odds stay finite


def answer_log_probs(
    model: Decoder,
    inputs_R2L: Tensor,
    numbers_R2L: Tensor,
    positions_R2L: Tensor,
    targets_R2L: Tensor,
    most: int,
    dtype: torch.dtype,
    gradients: ChunkGradients = log_prob_gradients,
) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities (R, 2, P) of the answers, and how many tokens each has.

    Args:
        inputs_R2L, numbers_R2L, positions_R2L, targets_R2L: as `PreferenceRows.read` gives them.
        most: P; 0 and no tokens where a row has fewer.
    """
    hidden = model.confined(
        inputs_R2L.flatten(0, 1), numbers_R2L.flatten(0, 1), positions_R2L.flatten(0, 1), dtype
    )
    logs = token_log_probs(
        hidden.flatten(0, 1), model.head_weight, targets_R2L.flatten(), gradients
    ).view_as(targets_R2L)
    # Sums by a product, which has the same bits in every run, as scattered sums have not on a GPU.
    columns = torch.arange(most, device=numbers_R2L.device)
    member_R2LP = (numbers_R2L.unsqueeze(-1) == columns).float()
    learned = (targets_R2L != IGNORED).float()
    sums, counts = (torch.einsum("rsl,rslp->rsp", x, member_R2LP) for x in (logs, learned))
    return sums, counts


def dpo(log_p_R2P: Tensor, reference_R2P: Tensor, beta: float, smoothing: float) -> Tensor:
    """-log of the probability that the chosen answer wins; (R, P), as all of these.

    The reward of an answer is `beta` times how much likelier it became than in the reference.
    """
    chosen, rejected = (beta * (log_p_R2P - reference_R2P)).unbind(1)
    return _wins(chosen - rejected, smoothing)


def simpo(mean_R2P: Tensor, beta: float, gamma: float, smoothing: float) -> Tensor:
    """As `dpo`, of rewards `beta` times the mean log-probability of a token, less a margin."""
    chosen, rejected = (beta * mean_R2P).unbind(1)
    return _wins(chosen - rejected - gamma, smoothing)


def orpo(mean_R2P: Tensor, beta: float) -> Tensor:
    """The chosen answer's mean loss of a token, and `beta` times the log odds ratio's.

    As in the paper the prompt is not learned, and every preference counts the same.
    """
    chosen, rejected = mean_R2P.clamp(max=_SURE).unbind(1)
    odds = (chosen - rejected) - (_log_rest(chosen) - _log_rest(rejected))
    return -mean_R2P[:, 0] - beta * F.logsigmoid(odds)


def _log_rest(log_p: Tensor) -> Tensor:
    """log(1 - p)."""
    return torch.log(-torch.expm1(log_p))


def _wins(margin: Tensor, smoothing: float) -> Tensor:
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def losses_and_rewards(
    log_p_R2P: Tensor,
    tokens_R2P: Tensor,
    reference_R2P: Tensor,
    *,
    method: str,
    beta: float,
    gamma: float,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """The loss of each preference (R, P), and the rewards of its answers (R, 2, P).

    Args:
        log_p_R2P, tokens_R2P: as `answer_log_probs` gives them.
        reference_R2P: the log-probabilities that `dpo` compares with.
        method: 'dpo', 'orpo' or 'simpo'.
    """
    if method == "dpo":
        losses = dpo(log_p_R2P, reference_R2P, beta, smoothing)
        return losses, beta * (log_p_R2P - reference_R2P).detach()
    mean_R2P = log_p_R2P / tokens_R2P.clamp(min=1)
    if method == "orpo":
        return orpo(mean_R2P, beta), beta * mean_R2P.detach()
    return simpo(mean_R2P, beta, gamma, smoothing), beta * mean_R2P.detach()
