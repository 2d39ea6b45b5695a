"""What DPO compares with: the log-probabilities of all answers in the model as training found it.

They are computed once before the first step and kept in RUN/reference.safetensors
(evaluation/preferences.py), so no second model is in memory while training; a resume reads them. An
adapter starts as no change at all, so its reference is the model without it.
"""

import torch
from safetensors.numpy import save

from xunlian.console import progress
from xunlian.data.preferences import PreferenceRows
from xunlian.evaluation.preferences import (
    REFERENCE_FILE,
    PreferenceValidation,
    reference_log_probs,
)
from xunlian.files import atomic_write
from xunlian.models.decoder import Decoder
from xunlian.runs.folder import Run
from xunlian.training.objectives import Objective
from xunlian.training.parallel import Group


def compute_reference(
    objective: Objective, model: Decoder, dtype: torch.dtype, group: Group
) -> None:
    """Give the rows of `objective` the log-probabilities that `model` has now."""
    every = compared_rows(objective).values()
    with progress() as bar:
        total = sum(rows.rows_per_epoch for rows in every)
        task = bar.add_task("reference", total=total / group.size)
        for rows in every:
            first = rows.rows_per_epoch * group.rank // group.size
            last = rows.rows_per_epoch * (group.rank + 1) // group.size
            found = reference_log_probs(
                model, rows, first, last, dtype, lambda count: bar.advance(task, count)
            )
            rows.reference_N2 = group.sum_tensor(torch.from_numpy(found)).numpy()


def write_reference(run: Run, objective: Objective) -> None:
    """Keep them in the run."""
    with atomic_write(run.path / REFERENCE_FILE) as file:
        rows = compared_rows(objective).items()
        file.write(save({split: one.reference_N2 for split, one in rows}))


def compared_rows(objective: Objective) -> dict[str, PreferenceRows]:
    """The rows of each split."""
    assert isinstance(objective.rows, PreferenceRows)
    found = {"train": objective.rows}
    if isinstance(objective.validation, PreferenceValidation):
        found["val"] = objective.validation.rows
    return found
