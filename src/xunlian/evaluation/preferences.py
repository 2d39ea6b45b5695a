"""How a model takes preferences: their loss, and how often and how far the chosen answer leads.

Shapes: R rows, P preferences of a row, N preferences in all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from xunlian.data.preferences import PreferenceRows
from xunlian.errors import InputError
from xunlian.evaluation.perplexity import evaluating
from xunlian.models.decoder import Decoder
from xunlian.models.losses import IGNORED
from xunlian.models.preference import answer_log_probs, losses_and_rewards
from xunlian.recipe.preference import BETA, Preference
from xunlian.recipe.settings import Recipe

BATCH_TOKENS = 4096  # in memory at once
REFERENCE_FILE = "reference.safetensors"
"""Of a run: the log-probabilities of its answers in the model that it started from."""
REFERENCE = "reference_sha256"
"""Of run.json: the checksum of that model's weights."""


class Answers(NamedTuple):
    """What a model thinks of the answers of some rows.

    Attributes:
        which_RP: which preferences these are, IGNORED where there is none.
        log_p_R2P, tokens_R2P: summed log-probability and number of tokens of both answers.
        reference_R2P: what the rows know of another model's.
    """

    which_RP: Tensor
    log_p_R2P: Tensor
    tokens_R2P: Tensor
    reference_R2P: Tensor


def read_answers(
    model: Decoder, rows: PreferenceRows, first: int, last: int, dtype: torch.dtype
) -> Iterator[Answers]:
    """Of rows first .. last-1, a few rows at a time."""
    size = max(1, BATCH_TOKENS // (2 * rows.context))
    device = model.head_weight.device
    # Eager: a second compiled form (no gradients) would cost more time than it saves.
    with evaluating(model), torch.compiler.set_stance("force_eager"):
        for start in range(first, last, size):
            arrays = rows.read(start, min(size, last - start))
            inputs, numbers, positions, targets, reference, which = (
                torch.from_numpy(array).to(device) for array in arrays
            )
            sums, counts = answer_log_probs(
                model, inputs, numbers, positions, targets, which.shape[1], dtype
            )
            yield Answers(which, sums, counts, reference)


def reference_log_probs(
    model: Decoder,
    rows: PreferenceRows,
    first: int,
    last: int,
    dtype: torch.dtype,
    advance: Callable[[int], None] = lambda rows: None,
) -> np.ndarray:
    """Log-probabilities of both answers of each preference (N, 2), of those that stand in rows
    first .. last-1 of an epoch; zeros for the others. `advance` is called with the rows done."""
    found = np.zeros((rows.preferences, 2), np.float32)
    for answers in read_answers(model, rows, first, last, dtype):
        here = answers.which_RP != IGNORED
        both = answers.log_p_R2P.transpose(1, 2)[here]
        found[answers.which_RP[here].cpu().numpy()] = both.cpu().numpy()
        advance(len(here))
    return found


@dataclass(frozen=True)
class PreferenceValidation:
    """Validation preferences in packed rows."""

    rows: PreferenceRows
    settings: Preference
    smoothing: float

    @property
    def parts(self) -> int:
        return self.rows.rows_per_epoch

    def nats(
        self, model: Decoder, first: int, last: int, dtype: torch.dtype
    ) -> tuple[float, int, int, float]:
        """Over the preferences of rows first .. last-1: sum of their losses, how many there are,
        of how many the chosen answer has the higher reward, and the sum of the rewards' margins."""
        loss = margin = 0.0
        count = won = 0
        for answers in read_answers(model, self.rows, first, last, dtype):
            losses, rewards = compare(*answers[1:], self.settings, self.smoothing)
            here = answers.which_RP != IGNORED
            lead = (rewards[:, 0] - rewards[:, 1])[here]
            loss, margin = loss + float(losses[here].sum()), margin + float(lead.sum())
            count, won = count + int(here.sum()), won + int((lead > 0).sum())
        return loss, count, won, margin


def likelier(model: Decoder, rows: PreferenceRows, dtype: torch.dtype) -> float:
    """Of how many preferences, as a share, a token of the chosen answer is likelier on average."""
    won = 0
    for answers in read_answers(model, rows, 0, rows.rows_per_epoch, dtype):
        mean_R2P = answers.log_p_R2P / answers.tokens_R2P.clamp(min=1)
        ahead = mean_R2P[:, 0] > mean_R2P[:, 1]
        won += int(ahead[answers.which_RP != IGNORED].sum())
    return won / rows.preferences


def needs_reference(recipe: Recipe) -> bool:
    """Whether the loss compares with the model that the training started from."""
    return recipe.preference is not None and recipe.preference.method == "dpo"


def read_reference(run: Path, rows: Mapping[str, PreferenceRows]) -> None:
    """Give the rows of each split what the training of `run` kept of it.

    Raises:
        InputError: it is not there, damaged, or of other preferences.
    """
    path = run / REFERENCE_FILE
    try:
        kept = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"'{path}' cannot be read ({error}), and rewards are compared with what it holds. Put "
            "it back, or train anew."
        ) from error
    for split, one in rows.items():
        if split not in kept or kept[split].shape != one.reference_N2.shape:
            raise InputError(
                f"'{path}' was made of other preferences than those of the corpus now. Put that "
                "corpus back, or train anew."
            )
        one.reference_N2 = kept[split]


ALSO = ("reward_accuracy", "reward_margin")
"""The means that `PreferenceValidation.nats` has beside the loss."""


def compare(
    log_p_R2P: Tensor,
    tokens_R2P: Tensor,
    reference_R2P: Tensor,
    settings: Preference,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """`losses_and_rewards` as a table [preference] has it."""
    return losses_and_rewards(
        log_p_R2P,
        tokens_R2P,
        reference_R2P,
        method=settings.method,
        beta=settings.beta or BETA[settings.method],
        gamma=settings.gamma,
        smoothing=smoothing,
    )
