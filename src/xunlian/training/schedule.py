"""How far a training is, and the learning rate that belongs there.

Notable idea: the rate is a function of *progress* (0 to 1), not of the step, so the same schedule
serves budgets in steps, tokens, epochs and wall-clock time: warm-up, constant, then a linear fall
(arXiv 2405.18392). A budget in seconds pays for imports and compiling, but progress begins with the
first step: of a minute they may be nearly half, and the rate would fall from the start.
"""

import time
from dataclasses import dataclass

from xunlian.recipe.budget import Budget

WARM_MOMENTUM_STEPS = 300
FIRST_MOMENTUM = 0.85 / 0.95


def rate_factor(progress: float, *, warmup: float, decay: float, final_rate: float) -> float:
    """The fraction of the peak rate at `progress`."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    if progress > 1 - decay:
        left = max(0.0, 1 - progress) / decay
        return final_rate + (1 - final_rate) * left
    return 1.0


def momentum_factor(step: int) -> float:
    """Muon's momentum starts lower, while gradients still turn quickly."""
    return FIRST_MOMENTUM + (1 - FIRST_MOMENTUM) * min(1.0, step / WARM_MOMENTUM_STEPS)


@dataclass
class Clock:
    """Tells the progress of a training, by steps or by the wall clock.

    Args:
        budget: how long to train.
        batch_tokens, epoch_tokens: turn tokens and epochs into steps.
        started: when this process started, on the clock of time.time().
        seconds_before: spent by earlier processes on the same run.
        setup_seconds: of these and this one, what passed before their first steps.
    """

    budget: Budget
    batch_tokens: int
    epoch_tokens: int
    started: float
    seconds_before: float = 0.0
    setup_seconds: float = 0.0

    @property
    def total_steps(self) -> int | None:
        return self.budget.steps(self.batch_tokens, self.epoch_tokens)

    def seconds(self) -> float:
        """Wall-clock seconds spent on the run so far."""
        return self.seconds_before + time.time() - self.started

    def progress(self, step: int, step_seconds: float) -> float:
        """Progress at the *beginning* of step `step`; 1 or more means there is no room for it.

        For a wall-clock budget there must be room for a whole step of `step_seconds`.
        """
        if self.total_steps is not None:
            return step / self.total_steps
        room = self.budget.amount - step_seconds - self.setup_seconds
        return (self.seconds() - self.setup_seconds) / room if room > 0 else 1.0
