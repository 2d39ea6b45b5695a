"""What a task finds out about a model, in a form that all tasks share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xunlian.evaluation.tasks.estimates import wilson_interval


@dataclass(frozen=True)
class Grades:
    """The result of a task.

    Attributes:
        scores: shares, 0 to 1, by name; the one to look at first stands first.
        intervals: 95% confidence intervals of those that are a share of right answers.
        baselines: figures to hold beside the first score.
        rows: a line for each answer, for `--output`.
        signature: 'name:value' of what the scores depend on beside the model.
        items: how many questions there are.
        too_long: how many of them leave no room for an answer; they count as wrong.
    """

    scores: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]
    items: int
    too_long: int
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    signature: Sequence[str] = ()


def share(right: Sequence[bool]) -> tuple[float, tuple[float, float]]:
    """The share of right answers, and its interval."""
    return sum(right) / len(right), wilson_interval(sum(right), len(right))


def first_answers(answers: Sequence[Sequence[str]]) -> tuple[list[str | None], int]:
    """The one answer to each question, None where it was too long; and how many were."""
    found = [each[0] if each else None for each in answers]
    return found, found.count(None)
