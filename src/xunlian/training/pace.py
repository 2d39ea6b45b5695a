"""How fast a training goes: tokens a second, MFU, and the seconds that are left."""

from dataclasses import dataclass

from xunlian.machine.rates import Rates
from xunlian.recipe.settings import Recipe
from xunlian.training.growth import step_share
from xunlian.training.objectives import Objective
from xunlian.training.schedule import Clock
from xunlian.training.step import Stepper


@dataclass
class Pace:
    """What a step takes, learned while the training goes.

    Args:
        step_seconds: of one step; a guess until the second step of a process.
        step_tokens: of one step of the whole group.
        flops_per_token: of a network all of whose blocks learn.
        waiting_share: what a token costs while some blocks wait (growth.py), in what it costs
            with all of them; 1 where none does.
        matmul_rate: floating-point operations a second, of the whole group.
    """

    step_seconds: float
    step_tokens: float
    flops_per_token: float
    waiting_share: float
    matmul_rate: float

    def learn(self, seconds: float, steps_here: int) -> None:
        """Take in the seconds of this process's `steps_here`-th step: a moving average. The
        first one warms up and does not count."""
        if steps_here == 2:
            self.step_seconds = seconds
        elif steps_here > 2:
            self.step_seconds += 0.1 * (seconds - self.step_seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.step_tokens / self.step_seconds

    def mfu(self, growing: bool) -> float:
        """Floating-point operations a second, as a share of the rate of matrix products."""
        share = self.waiting_share if growing else 1.0
        return self.tokens_per_second * self.flops_per_token * share / self.matmul_rate

    def seconds_left(self, clock: Clock, step: int, growing: bool, decay: float) -> float:
        """Until the budget is spent; while blocks wait, later steps will take longer."""
        if clock.total_steps is None:
            return max(0.0, clock.budget.amount - clock.seconds())
        left = clock.total_steps - step
        if not growing:
            return left * self.step_seconds
        few = max(0.0, clock.total_steps * (1 - decay) - step)
        return (few + (left - few) / self.waiting_share) * self.step_seconds


def pace_of(
    recipe: Recipe, objective: Objective, stepper: Stepper, rates: Rates, step_seconds: float
) -> Pace:
    """`rates`: of one process. `step_seconds`: the first guess."""
    training, rows, flops = recipe.training, objective.rows, objective.flops_per_token
    assert training.batch_tokens
    vocab_size = stepper.model.config.vocab_size
    return Pace(
        step_seconds=step_seconds,
        step_tokens=training.batch_tokens // rows.context * rows.row_tokens,
        flops_per_token=flops,
        waiting_share=step_share(recipe, vocab_size, flops) if training.grow_from else 1.0,
        matmul_rate=rates.of(training.precision) * stepper.group.size,
    )
