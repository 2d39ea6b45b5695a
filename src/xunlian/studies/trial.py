"""A few real steps and a validation, to learn what a whole training would take.

The first steps are slower than the others (the optimizer makes its state, the allocator grows), so
they are not counted; of the others the middle half is, which bears that something disturbs one.
"""

import importlib
import math
import time
from dataclasses import dataclass

import torch

from xunlian.machine.memory import PeakMemory
from xunlian.training import decisions
from xunlian.training.objectives import Objective, Rows
from xunlian.training.parallel import Group, local_rows
from xunlian.training.setup import Setup
from xunlian.training.step import Stepper

WARM_UP = 3  # steps
FEWEST_STEPS, MOST_STEPS = 4, 24
MOST_SECONDS = 8.0  # of steps, once there are the fewest; and of a validation
RATE = 0.01  # of the peak's, which needs a warm-up


@dataclass(frozen=True)
class Trial:
    """Seconds of a step and of a validation; bytes at the peak, None where they are not told."""

    step_seconds: float
    validation_seconds: float
    memory: int | None


def try_out(ready: Setup, validation_tokens: int, group: Group) -> Trial:
    """Train a few steps and validate, as `training/loop.py` does."""
    stepper, rows, batch_tokens = (
        ready.stepper,
        ready.objective.rows,
        ready.recipe.training.batch_tokens,
    )
    assert batch_tokens
    stepper.model.train()
    run_steps(stepper, rows, batch_tokens, group, 2)
    peak = PeakMemory(group.device)
    peak.start(stepper.live_bytes())
    step_seconds = time_steps(stepper, rows, batch_tokens, group)
    guess = decisions.validation_seconds(step_seconds, validation_tokens, batch_tokens)
    validation_seconds = time_validation(stepper, ready.objective, guess)
    peak.stop()
    return Trial(step_seconds, validation_seconds, peak.peak)


def time_steps(stepper: Stepper, rows: Rows, batch_tokens: int, group: Group) -> float:
    """Seconds of an optimizer step: the middle half of some after the first, real ones."""
    run_steps(stepper, rows, batch_tokens, group, WARM_UP)
    times: list[float] = []
    while len(times) < FEWEST_STEPS or (len(times) < MOST_STEPS and sum(times) < MOST_SECONDS):
        times += run_steps(stepper, rows, batch_tokens, group, 1, WARM_UP + len(times))
    return middle(times)


def run_steps(
    stepper: Stepper, rows: Rows, batch_tokens: int, group: Group, count: int, first: int = 0
) -> list[float]:
    """Seconds of steps first .. first + count - 1, reading the rows included."""
    per_step = batch_tokens // rows.context
    own, local = local_rows(per_step, group)
    times = []
    for number in range(first, first + count):
        begun = time.perf_counter()
        stepper.step(rows.read(number * per_step + own, local), RATE, 1.0).wait()
        times.append(time.perf_counter() - begun)
    return times


def time_validation(stepper: Stepper, objective: Objective, guess: float) -> float:
    """Seconds of a whole validation, of which a part is run where it is `guess`ed to be long."""
    validation = objective.validation
    if validation is None:
        return 0.0
    parts = math.ceil(validation.parts * min(1.0, MOST_SECONDS / max(guess, 1e-9)))
    begun = time.perf_counter()
    with torch.compiler.set_stance("force_eager"):
        validation.nats(stepper.model, 0, parts, stepper.dtype)
    return (time.perf_counter() - begun) * validation.parts / parts


def middle(times: list[float]) -> float:
    """The mean without the fastest and the slowest quarter."""
    cut = len(times) // 4
    kept = sorted(times)[cut : len(times) - cut]
    return sum(kept) / len(kept)


def import_compiler() -> float:
    """Seconds of importing the compiler, which no cache saves a training."""
    begun = time.perf_counter()
    importlib.import_module("torch._inductor.compile_fx")
    return time.perf_counter() - begun


def compile_again(ready: Setup) -> float:
    """Seconds that compiling takes now that its results lie in the compiler's cache."""
    torch._dynamo.reset()
    return decisions.try_compile(ready.stepper, ready.objective.rows)[1]
