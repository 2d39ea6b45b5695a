"""What a training decides for this machine before its first step, each with the reason.

The decisions go into the run's recipe.toml, so the same run trains again the same way.
"""

import os
import time
from dataclasses import dataclass

import torch

from xunlian.console import say, warn
from xunlian.errors import InputError
from xunlian.machine.compiler import trust_instruction_sets
from xunlian.machine.compiler_cache import use_own_cache
from xunlian.machine.features import Machine, available_cores, read_machine
from xunlian.machine.profile import profile_key, tuned_settings
from xunlian.machine.rates import Rates, choose_precision, measure_rates
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.fp8 import MULTIPLE
from xunlian.models.quantized import Quantized
from xunlian.recipe.budget import parse_budget
from xunlian.recipe.resolve import resolve, shape_of
from xunlian.recipe.settings import Recipe, Training
from xunlian.training.checkpoint import random_state, restore_random_state
from xunlian.training.objectives import Rows
from xunlian.training.parallel import Group
from xunlian.training.schedule import Clock
from xunlian.training.step import Stepper

# A compiled step takes 0.45 to 0.67 of an eager one's time on a CPU, and compiling takes 5 to 20 s.
COMPILE_PAYS_AFTER = 45.0
MATMUL_ATTENTION_CONTEXT = 1024
# An eager pass of a quarter of the rows tells the time, and keeps a quarter of the activations.
TIMED_PART = 4
VALIDATION_SHARE = 0.04
CHECKPOINT_SECONDS = 300.0
LOG_LINES = 400
FP8_CAPABILITY = (8, 9)  # Ada; Hopper is 9.0


@dataclass(frozen=True)
class Decided:
    """A recipe that needs nothing more but a running model, and what was found on the way."""

    recipe: Recipe
    rates: Rates
    notes: tuple[str, ...]


def decide(
    recipe: Recipe, *, vocab_size: int, corpus_tokens: int, machine: Machine, group: Group
) -> Decided:
    """Resolve the recipe for this machine: precision, attention form, threads, sizes.

    Raises:
        InputError: the values cannot be combined.
    """
    training, notes = recipe.training, []
    threads = training.threads or default_threads()
    torch.set_num_threads(threads)
    measured = measure_rates(group.device)
    # The lead's: what follows from them must be the same in every process.
    rates = Rates(*group.from_lead(measured.fp32, measured.bf16))
    precision, reason = choose_precision(rates, machine, group.device)
    if training.precision != "auto":
        precision, reason = training.precision, "as the recipe says"
    notes.append(f"Precision {precision}: {reason}.")
    attention = training.attention
    if attention == "auto":
        short = recipe.model.context <= MATMUL_ATTENTION_CONTEXT
        attention = "matmul" if short and group.device.type == "cpu" else "sdpa"
    recipe = resolve(
        recipe,
        vocab_size=vocab_size,
        corpus_tokens=corpus_tokens,
        matmul_rate=rates.of(precision),
        on_gpu=group.device.type == "cuda",
        processes=group.size,
    )
    training = recipe.training.model_copy(
        update={"precision": precision, "attention": attention, "threads": threads}
    )
    recipe = recipe.model_copy(update={"training": training})
    return Decided(recipe, rates, tuple(notes))


def check_fp8(recipe: Recipe, device: torch.device) -> None:
    """Raises InputError: this device or this network has no products in 8 bits."""
    instead = "Leave training.precision=fp8 out."
    if recipe.model.family != "transformer":
        raise InputError(f"Only a transformer multiplies in 8 bits. {instead}")
    shape = shape_of(recipe.model)
    for name in ("width", "mlp_width", "head_width"):
        size = getattr(shape, name)
        if size % MULTIPLE:
            raise InputError(
                f"Products in 8 bits need sizes in multiples of {MULTIPLE}, but model.{name} is "
                f"{size}. {instead}"
            )
    if device.type != "cuda" or torch.version.hip:
        raise InputError(f"Products in 8 bits need an NVIDIA GPU. {instead}")
    found = torch.cuda.get_device_capability(device)
    if found < FP8_CAPABILITY:
        raise InputError(
            f"{torch.cuda.get_device_name(device)} has no products in 8 bits: Ada and Hopper GPUs "
            f"and later ones do. {instead}"
        )


def check_frozen(recipe: Recipe, device: torch.device) -> None:
    """Raises InputError: the library for matrices in 4 bits is missing, or does not work here."""
    if not recipe.adapter or recipe.adapter.frozen != "nf4":
        return
    instead = "Or take adapter.frozen=int8, which needs nothing."
    try:
        Quantized(torch.ones(2, 64), "nf4").to(device).restored(torch.bfloat16)
    except ImportError as error:
        raise InputError(
            f"adapter.frozen=nf4 needs bitsandbytes, which cannot be imported ({_line(error)}). "
            f'Get it: pip install "xunlian[quantized]". {instead}'
        ) from error
    except (RuntimeError, AttributeError) as error:
        raise InputError(
            f"adapter.frozen=nf4: bitsandbytes does not work on {device} ({_line(error)}). See "
            f"`python -m bitsandbytes`. {instead}"
        ) from error


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")[:200].strip()


def apply_tuned(
    recipe: Recipe, asked: Training, vocab_size: int, machine: Machine, group: Group
) -> tuple[Recipe, str | None]:
    """What `xunlian tune` found for this network here, where the recipe `asked` for nothing.

    It was found by one process that had the machine alone, so it is for one process, and by one
    that trained the network as a whole.
    """
    if group.size > 1 or recipe.adapter:
        return recipe, None
    tuned = tuned_settings(profile_key(machine, recipe, vocab_size, str(group.device)))
    gain = tuned.pop("gain", 1.0)
    tuned = {name: v for name, v in tuned.items() if getattr(asked, name, 0) in (None, "auto")}
    if not tuned:
        return recipe, None
    if "threads" in tuned:
        torch.set_num_threads(tuned["threads"])
    training = recipe.training.model_copy(update=tuned)
    words = ", ".join(f"{name} {value}" for name, value in tuned.items())
    return recipe.model_copy(update={"training": training}), f"Tuned here: {words} ({gain:.2f}x)."


def default_threads() -> int:
    """The cores of this machine, shared among its processes."""
    return max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def check_shares(recipe: Recipe, group: Group) -> None:
    """Raises InputError: the rows of a step cannot be shared evenly among the processes."""
    assert recipe.training.batch_tokens
    rows = recipe.training.batch_tokens // recipe.model.context
    if rows % group.size:
        raise InputError(
            f"A step of this run has {rows} rows, which {group.size} processes cannot share evenly."
            " Go on with a number of processes that divides it."
        )


def can_compile(recipe: Recipe, machine: Machine, group: Group) -> bool:
    """Whether steps may be compiled: the recipe does not forbid it, and here it is possible."""
    possible = machine.can_compile or group.device.type != "cpu"
    return recipe.training.compile != "off" and possible


def decide_compile(
    stepper: Stepper,
    rows: Rows,
    clock: Clock,
    setting: str,
    machine: Machine,
    micro_batches: int,
) -> tuple[bool, float, str]:
    """Whether to compile, the seconds of an eager step, and the reason in words.

    Times a forward and backward pass; weights and random state stay as they are.
    """
    part = TIMED_PART if setting != "off" and _goes_by_rows(stepper) else 1
    seconds = _time_micro_batch(stepper, rows, part) * micro_batches * 1.1
    if setting == "off":
        return False, seconds, "compile is off, as the recipe says"
    if stepper.group.device.type == "cpu" and not machine.can_compile:
        message = f"torch.compile is not used: {machine.compile_missing}"
        if setting == "on":
            raise InputError(f"training.compile = on, but {machine.compile_missing}.")
        return False, seconds, message
    if setting == "on":
        return True, seconds, "compile is on, as the recipe says"
    if clock.total_steps is None:
        left = clock.budget.amount - clock.seconds()
    else:
        left = clock.total_steps * seconds
    if left < COMPILE_PAYS_AFTER:
        return False, seconds, f"compiling does not pay for {left:.0f} seconds of training"
    return True, seconds, "compiling pays within the budget"


def try_compile(stepper: Stepper, rows: Rows) -> tuple[bool, float, str]:
    """Compile by running one micro-batch; falls back to eager when the compiler fails.

    Returns whether it worked, the seconds it took, and what to say about a failure.
    """
    begun = time.perf_counter()
    trust_instruction_sets(read_machine().compiler)
    try:
        use_own_cache()
        stepper.compile()
        _run_micro_batch(stepper, rows)
    except (torch._dynamo.exc.TorchDynamoException, OSError) as error:
        stepper.uncompile()
        torch._dynamo.reset()
        stepper.optimizers.clear_gradients()
        return False, time.perf_counter() - begun, f"torch.compile failed ({_line(error)})"
    return True, time.perf_counter() - begun, ""


def _goes_by_rows(stepper: Stepper) -> bool:
    """Whether half of the rows take half of the time: recurrent steps wait for each other."""
    return isinstance(stepper.model, Decoder | EncoderDecoder)


def _time_micro_batch(stepper: Stepper, rows: Rows, part: int) -> float:
    """Seconds of an eager micro-batch, from one part of its rows."""
    count = max(1, stepper.micro_rows // part)
    _run_micro_batch(stepper, rows, count)  # warms up
    begun = time.perf_counter()
    _run_micro_batch(stepper, rows, count)
    return (time.perf_counter() - begun) * stepper.micro_rows / count


def _run_micro_batch(stepper: Stepper, rows: Rows, count: int | None = None) -> None:
    """Forward and backward, leaving no gradient and no trace in the random state."""
    batch = rows.read(0, count or stepper.micro_rows)
    state = random_state(stepper.group.device)
    stepper.backward(batch).item()  # waits for a GPU
    stepper.optimizers.clear_gradients()
    restore_random_state(state, stepper.group.device)


def cadence(recipe: Recipe, clock: Clock, step_seconds: float, val_tokens: int) -> Recipe:
    """Fill in how often to validate, to save and to log, for the speed measured."""
    training = recipe.training
    assert training.batch_tokens
    total = clock.total_steps
    if total is None:
        total = max(1, round((clock.budget.amount - clock.seconds()) / step_seconds))
    seconds = max(1e-3, validation_seconds(step_seconds, val_tokens, training.batch_tokens))
    validations = min(20.0, VALIDATION_SHARE * total * step_seconds / seconds)
    # Where only one pays it is the last, whenever that comes: planned for the step that is expected
    # to be the last it would often come before it, and take the time in which the rate should fall.
    validate_every = round(total / validations) if validations >= 2 else 2 * total
    values = {
        "validate_every": training.validate_every or max(1, validate_every),
        "checkpoint_every": training.checkpoint_every
        or max(1, min(total, round(CHECKPOINT_SECONDS / step_seconds))),
        "log_every": training.log_every or max(1, total // LOG_LINES),
    }
    return recipe.model_copy(update={"training": training.model_copy(update=values)})


def validation_seconds(step_seconds: float, val_tokens: int, batch_tokens: int) -> float:
    """Roughly: a token costs a third of what it costs in training."""
    return step_seconds * val_tokens / batch_tokens / 3


def clock_of(recipe: Recipe, corpus_tokens: int, started: float, before: float = 0.0) -> Clock:
    assert recipe.training.budget and recipe.training.batch_tokens
    return Clock(
        parse_budget(recipe.training.budget),
        recipe.training.batch_tokens,
        corpus_tokens,
        started,
        before,
    )


def tell(message: str, group: Group, *, warning: bool = False) -> None:
    if group.leads:
        (warn if warning else say)(message)
