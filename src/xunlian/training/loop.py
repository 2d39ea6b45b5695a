"""The training loop: steps until the budget is spent, with validation, logs and checkpoints.

Everything here is a function of the recipe and of `Progress`, which a checkpoint holds whole: the
rows of a step follow from its number, the learning rate from the progress, so a resumed run goes
on exactly where it was.

Notable idea: on a GPU a step is queued, not waited for. While it runs, the rows of the next one are
read and copied, and the results of the one before are looked at.
"""

import math
import time
from collections import deque
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import torch

from xunlian.console import say, warn
from xunlian.errors import XunlianError
from xunlian.files import os_errors
from xunlian.interop.adapters import WEIGHTS_FILE as ADAPTER_FILE
from xunlian.interop.adapters import write_adapter
from xunlian.interop.huggingface import WEIGHTS_FILE, write_weights
from xunlian.machine.memory import PeakMemory
from xunlian.models.adapter import load_trained, trained_weights
from xunlian.recipe.settings import Training
from xunlian.runs.folder import Run
from xunlian.training.checkpoint import mean_weights, random_state, save_checkpoint
from xunlian.training.display import Display
from xunlian.training.interrupts import interruptible
from xunlian.training.objectives import Objective, Validation
from xunlian.training.pace import Pace
from xunlian.training.parallel import Group, local_rows
from xunlian.training.schedule import Clock, momentum_factor, rate_factor
from xunlian.training.step import Loaded, Stepper, StepResult

MOST_SKIPPED_IN_A_ROW = 5


@dataclass
class Progress:
    """Where a training is; saved in every checkpoint."""

    step: int = 0
    tokens: int = 0
    best_val_loss: float | None = None
    best_step: int = 0
    validations_without_gain: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    losses_since_log: list[float] = field(default_factory=list)
    grown: bool = False  # all blocks learn (growth.py)
    finished: bool = False


@dataclass
class Cadence:
    """Steps between validations, checkpoints and log lines."""

    validate: int
    checkpoint: int
    log: int


@dataclass
class Loop:
    """One process's part of a training run."""

    run: Run
    settings: Training
    group: Group
    stepper: Stepper
    objective: Objective
    clock: Clock
    cadence: Cadence
    pace: Pace
    progress: Progress = field(default_factory=Progress)
    peak: PeakMemory = field(default_factory=PeakMemory)
    _queued: deque[tuple[int, float, StepResult]] = field(default_factory=deque)

    def train(self) -> bool:
        """Train until the budget is spent. Returns False when interrupted.

        Raises:
            XunlianError: several steps in a row had no finite gradient, or the disk is full.
        """
        state, cadence = self.progress, self.cadence
        first_step, late = state.step, int(self.stepper.queues)
        batch = self._load(state.step)
        self.clock.setup_seconds += self.clock.seconds() - self.clock.seconds_before
        shown = Display() if self.group.leads else nullcontext()
        with interruptible() as interrupted, shown as display:
            while not state.finished:
                done, stop = self._agree(interrupted())
                if stop or done >= 1:
                    self._look_at_results(0, display)
                    if not stop:
                        break
                    self._checkpoint()
                    return False
                begun = time.perf_counter()
                if self.growing and done >= 1 - self.settings.decay:
                    self.stepper.grow()
                    state.grown = True
                factor = rate_factor(
                    done,
                    warmup=self.settings.warmup,
                    decay=self.settings.decay,
                    final_rate=self.settings.final_rate,
                )
                result = self.stepper.step(batch, factor, momentum_factor(state.step))
                state.step += 1
                state.tokens = round(state.step * self.pace.step_tokens)
                self._queued.append((state.step, done, result))
                batch = self._load(state.step)
                log = state.step % cadence.log == 0 or state.step == 1
                validate = state.step % cadence.validate == 0
                checkpoint = state.step % cadence.checkpoint == 0
                self._look_at_results(0 if log or validate or checkpoint else late, display)
                steps_here = state.step - first_step - late
                self.pace.learn(time.perf_counter() - begun, steps_here)
                if steps_here == 2:
                    self.peak.start(self.stepper.live_bytes())
                if log:
                    self._log_step(result, factor)
                if validate:
                    self._validate(display)
                if checkpoint:
                    self._checkpoint()
        self._finish()
        return True

    @property
    def growing(self) -> bool:
        """Whether some blocks still wait."""
        return bool(self.settings.grow_from) and not self.progress.grown

    def _load(self, step: int) -> Loaded:
        """This process's rows of the step after `step`, on their way to the device."""
        first, count = local_rows(self._rows_per_step, self.group)
        return self.stepper.load(
            self.objective.rows.read(step * self._rows_per_step + first, count)
        )

    def _look_at_results(self, leave: int, display: Display | None) -> None:
        """Take in what the steps showed, but for the last `leave`, which may still run."""
        while len(self._queued) > leave:
            step, done, result = self._queued.popleft()
            self._count_skipped(step, result.finite)
            if result.finite:
                self.progress.losses_since_log.append(result.loss)
            if display is not None:
                display.update(
                    progress=done,
                    step=step,
                    loss=result.loss,
                    tokens_per_second=self.pace.tokens_per_second,
                    mfu=self.pace.mfu(self.growing),
                    seconds_left=self.pace.seconds_left(
                        self.clock, self.progress.step, self.growing, self.settings.decay
                    ),
                )

    def _agree(self, interrupted: bool) -> tuple[float, bool]:
        """Progress and whether to stop, as the lead sees them (any process may be interrupted)."""
        # Steps that still run need their room in the budget, too.
        seconds = self.pace.step_seconds * (1 + len(self._queued))
        done = self.clock.progress(self.progress.step, seconds)
        if self.group.size == 1:
            return done, interrupted
        done, stop = self.group.sum(done if self.group.leads else 0.0, float(interrupted))
        return done, stop > 0

    @property
    def _rows_per_step(self) -> int:
        return self.settings.batch_tokens // self.objective.rows.context  # type: ignore[operator]

    def _count_skipped(self, step: int, finite: bool) -> None:
        state = self.progress
        if finite:
            state.skipped_in_a_row = 0
            return
        state.skipped += 1
        state.skipped_in_a_row += 1
        warn(f"Step {step}: the loss or the gradient is not finite; the step is left out.")
        if state.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            kept = (
                f"; model.init_from={self.run.path} starts it from the best weights of this run"
                if state.best_val_loss is not None
                else ""
            )
            wider = ", with training.precision=fp32" if self.settings.precision != "fp32" else ""
            raise XunlianError(
                f"{state.skipped_in_a_row} steps in a row had no finite gradient. Start a new run "
                f"with a lower training.learning_rate{wider} or with a longer training.warmup"
                f"{kept}."
            )

    def _log_step(self, result: StepResult, factor: float) -> None:
        """The mean loss since the last line, and the state of this step."""
        losses = self.progress.losses_since_log
        self._log(
            {
                "loss": sum(losses) / len(losses) if losses else None,
                "learning_rate": self.settings.learning_rate * factor,  # type: ignore[operator]
                "grad_norm": result.grad_norm if result.finite else None,
                "tokens_per_second": self.pace.tokens_per_second,
                "mfu": self.pace.mfu(self.growing),
            }
        )
        losses.clear()

    def _log(self, values: dict[str, Any]) -> None:
        if not self.group.leads:
            return
        line = {
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": round(self.clock.seconds(), 3),
            **values,
        }
        with os_errors(self.run.metrics_file), open(self.run.metrics_file, "ab") as file:
            file.write(orjson.dumps(line) + b"\n")

    def _validate(self, display: Display | None) -> None:
        """Measure the validation loss; keep the weights when it is the best so far."""
        if self.objective.validation is None:
            return
        with self.stepper.optimizers.averaged():
            self._validate_weights(self.objective.validation, display)

    def _validate_weights(self, validation: Validation, display: Display | None) -> None:
        state = self.progress
        loss, also = self._validation_means(validation)
        self._log({"val_loss": loss, **{f"val_{name}": value for name, value in also.items()}})
        if display is not None:
            display.validated(loss, also)
        best = math.inf if state.best_val_loss is None else state.best_val_loss
        if loss < best:  # never so when it is not a number
            state.best_val_loss, state.best_step = loss, state.step
            state.validations_without_gain = 0
            self._write_model()
        elif not self.growing:  # a few blocks may come to their end; then the others join
            state.validations_without_gain += 1
        patience = self.settings.early_stopping
        if patience and state.validations_without_gain >= patience:
            say(f"Stopped early: {patience} validations without a better loss.")
            state.finished = True

    def _validation_means(self, validation: Validation) -> tuple[float, dict[str, float]]:
        """The loss, and what else there is, over all of it, each process taking its share."""
        first = validation.parts * self.group.rank // self.group.size
        last = validation.parts * (self.group.rank + 1) // self.group.size
        # Eager: a second compiled form (no gradients) would cost more time than it saves.
        with torch.compiler.set_stance("force_eager"):
            sums = validation.nats(self.stepper.model, first, last, self.stepper.dtype)
        nats, count, *others = self.group.sum(*sums)
        also = zip(self.objective.also, others, strict=True)
        return nats / count, {name: value / count for name, value in also}

    def _write_model(self) -> None:
        if not self.group.leads:
            return
        folder, model = self.run.model_folder, self.stepper.model
        if self.run.recipe.adapter:
            write_adapter(folder / ADAPTER_FILE, model)
        else:
            write_weights(folder / WEIGHTS_FILE, model)

    def _checkpoint(self) -> None:
        carried = self.stepper.carried_tensors()
        if self.group.leads:
            save_checkpoint(
                self.run.checkpoints,
                step=self.progress.step,
                model=trained_weights(self.stepper.model),
                optimizer=self.stepper.optimizers.state_tensors() | carried,
                state={
                    "progress": asdict(self.progress),
                    "seconds": self.clock.seconds(),
                    "setup_seconds": self.clock.setup_seconds,
                    "random": random_state(self.group.device),
                    "processes": self.group.size,
                },
                keep=max(self.settings.keep_checkpoints, self.settings.average_checkpoints),
            )
        self.group.wait()

    def _finish(self) -> None:
        """The last validation, the last weights, the last checkpoint."""
        state = self.progress
        self.peak.stop()
        if not state.step and self.group.leads:
            warn(
                "The budget was over before the first step: the model has learned nothing. Set a "
                "larger training.budget or a smaller model.size."
            )
        already = state.step % self.cadence.validate == 0 and state.step > 0
        if not already:
            self._validate(None)
        if state.best_val_loss is None:
            with self.stepper.optimizers.averaged():
                self._write_model()
        if self.settings.average_checkpoints > 1:
            self._try_mean()
        state.finished = True
        self._checkpoint()

    def _try_mean(self) -> None:
        """Take the mean of the last checkpoints' weights where it validates better."""
        validation, state, model = self.objective.validation, self.progress, self.stepper.model
        if validation is None or state.best_val_loss is None:
            return
        own = {name: tensor.clone() for name, tensor in trained_weights(model).items()}
        most = self.settings.average_checkpoints
        mean, count = mean_weights(self.run.checkpoints, own, state.step, most)
        load_trained(model, mean)
        loss, _ = self._validation_means(validation)
        better = loss < state.best_val_loss
        if better:
            state.best_val_loss, state.best_step = loss, state.step
            self._write_model()
        load_trained(model, own)
        if self.group.leads:
            say(
                f"The mean of the last {count} checkpoints has loss {loss:.4f}: "
                f"{'taken' if better else 'not better, left'}."
            )
