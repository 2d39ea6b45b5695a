"""What a training would take, before it is spent: data, time, memory, money.

Notable ideas:
- On this machine nothing is guessed: everything is set up as `train` does it, compiled too, and a
  few real steps and a validation are timed, and their memory measured. Then it is thrown away.
- On a card that is not here, arithmetic: its data sheet's rate, and the share of it that a good
  training reaches.
- How much data a size is worth: 20 tokens a parameter (arXiv 2203.15556), and up to 8 passes over
  a text (arXiv 2305.16264), the same two numbers that the default budget is made of.
"""

import math
from typing import Any

from xunlian.console import warn
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.evaluation.preferences import needs_reference
from xunlian.machine.accelerators import Accelerator, parse_accelerator
from xunlian.machine.memory import MicroBatch
from xunlian.models.losses import gpu_chunk_logits
from xunlian.recipe.budget import parse_budget
from xunlian.recipe.resolve import MOST_EPOCHS, TOKENS_PER_PARAMETER, resolve, shape_of
from xunlian.recipe.settings import Recipe, Training
from xunlian.recipe.size import count_parameters, training_flops_per_token
from xunlian.runs.initial import shape_from_folder
from xunlian.shards.corpus import Corpus
from xunlian.studies.trial import compile_again, import_compiler, try_out
from xunlian.training.fitting import bytes_text, memory_of_batch
from xunlian.training.growth import mean_share
from xunlian.training.objectives import Rows, epoch_tokens, learned_tokens
from xunlian.training.parallel import Group
from xunlian.training.setup import set_up
from xunlian.training.teacher import teacher_flops

STAYS = ("weights", "optimizer state", "averaged weights", "teacher")
# Share of the data sheet's rate: an H200 reached 0.42 at width 768, 0.47 at 1024 (docs/speed.md),
# and trainings of up to 10B parameters report as much; narrower networks reach less.
CARD_MFU = 0.45
CARD_FULL_SPEED_WIDTH = 768
FORWARD = 1 / 3  # of a training step's time
SMALLEST_ADVISED = 1e6
UNLIMITED_TOKENS = 10**15


def plan_here(recipe: Recipe, corpus: Corpus, group: Group, started: float) -> dict[str, Any]:
    """The plan of a training on this machine, from a few steps of it.

    Raises:
        InputError: as training would, for instance when it does not fit in memory.
    """
    importing = 0.0 if recipe.training.compile == "off" else import_compiler()
    ready = set_up(recipe, corpus, group, started)
    recipe, clock = ready.recipe, ready.clock
    training = recipe.training
    assert training.batch_tokens and training.validate_every
    before = clock.seconds()
    if training.compile == "on":
        before += compile_again(ready) - ready.compile_seconds
    else:
        before -= importing
    trial = try_out(ready, learned_tokens(corpus, "val"), group)
    vocab_size = ready.stepper.model.config.vocab_size
    rows, flops = ready.objective.rows, ready.objective.flops_per_token
    share = mean_share(recipe, vocab_size, flops)
    step_seconds, flops = trial.step_seconds * share, flops * share
    if needs_reference(recipe):  # is computed first, as a validation of all rows would be
        reading = FORWARD * step_seconds * rows.context / training.batch_tokens
        before += rows.rows_per_epoch * reading + trial.validation_seconds
    step_tokens = training.batch_tokens / rows.context * rows.row_tokens
    with_validation = step_seconds + trial.validation_seconds / training.validate_every
    rate = ready.rates.of(training.precision) * group.size
    speed = step_tokens / step_seconds
    steps = clock.total_steps
    if steps is None:
        steps = max(1, math.floor((clock.budget.amount - before) / with_validation))
    validations = math.ceil(steps / training.validate_every)
    return {
        "device": f"{ready.machine.processor}, {training.threads} threads"
        if group.device.type == "cpu"
        else ready.machine.accelerators[group.device.index or 0],
        "devices": group.size,
        "precision": training.precision,
        "compile": training.compile == "on",
        "seconds": before + steps * step_seconds + validations * trial.validation_seconds,
        "setup_seconds": before,
        "step_seconds": step_seconds,
        "steps": steps,
        "tokens": round(steps * step_tokens),
        "tokens_per_second": speed,
        "matmul_rate": rate,
        "mfu": speed * flops / rate,
        "flops": steps * step_tokens * flops,
        "validation_seconds": trial.validation_seconds,
        "memory": _measured(ready.memory, trial.memory, rows),
        "epochs": steps * training.batch_tokens / epoch_tokens(ready.objective, corpus),
        **_sizes(recipe, vocab_size, learned_tokens(corpus)),
    }


def plan_for_card(
    recipe: Recipe, card: str, vocab_size: int, corpus_tokens: int | None
) -> dict[str, Any]:
    """The plan for cards that are not here, such as 'h100' or 'h100:8', from their data sheet.

    Raises:
        InputError: an unknown card, or values that cannot be combined.
    """
    if recipe.training.precision == "fp32":
        warn("Cards are planned for in bf16; in fp32 a training takes several times as long.")
    name, accelerator, count = parse_accelerator(card)
    asked = recipe.training
    recipe = resolve(
        shape_from_folder(recipe),
        vocab_size=vocab_size,
        corpus_tokens=corpus_tokens or UNLIMITED_TOKENS,
        matmul_rate=accelerator.bf16,
        on_gpu=True,
        processes=count,
    )
    model, training = recipe.model, recipe.training
    assert training.batch_tokens and training.budget
    shape = shape_of(model)
    frozen = recipe.adapter is not None
    flops = training_flops_per_token(model, shape, vocab_size, frozen=frozen)
    flops += teacher_flops(recipe, vocab_size)
    flops *= mean_share(recipe, vocab_size, flops)
    mfu = CARD_MFU * min(1.0, shape.width / CARD_FULL_SPEED_WIDTH)
    speed = accelerator.bf16 * count * mfu / flops
    lines = 2 if recipe.task == "preference" else 1  # a chosen and a rejected one
    step_tokens = lines * training.batch_tokens
    step_seconds = step_tokens / speed
    budget = parse_budget(training.budget)
    steps = budget.steps(training.batch_tokens, corpus_tokens or UNLIMITED_TOKENS)
    if steps is None:
        steps = max(1, math.floor(budget.amount / step_seconds))
    rows, memory = _card_memory(recipe, accelerator, vocab_size, count, asked)
    return {
        "device": name,
        "devices": count,
        "precision": "bf16",
        "compile": True,
        "seconds": steps * step_seconds,
        "setup_seconds": 0.0,
        "step_seconds": step_seconds,
        "steps": steps,
        "tokens": steps * step_tokens,
        "tokens_per_second": speed,
        "matmul_rate": accelerator.bf16 * count,
        "mfu": mfu,
        "flops": steps * step_tokens * flops,
        "memory": memory,
        "micro_batch_tokens": rows * model.context,
        "fits": sum(memory.values()) <= accelerator.memory,
        "epochs": steps * training.batch_tokens / corpus_tokens if corpus_tokens else None,
        **_sizes(recipe, vocab_size, corpus_tokens),
    }


def _card_memory(
    recipe: Recipe, card: Accelerator, vocab_size: int, count: int, asked: Training
) -> tuple[int, dict[str, int]]:
    """Rows of a forward pass as `train` takes them there, and bytes by part of each card."""
    there = {"precision": "bf16", "attention": "sdpa"}
    training, context = recipe.training.model_copy(update=there), recipe.model.context
    recipe = recipe.model_copy(update={"training": training})
    assert training.batch_tokens and training.micro_batch_tokens
    lines = 2 if recipe.task == "preference" else 1  # a chosen and a rejected one

    def memory(rows: int) -> dict[str, int]:
        batch = MicroBatch(lines * rows, context, context)
        chunk = gpu_chunk_logits(card.memory)
        return memory_of_batch(recipe, vocab_size, batch, compiled=True, chunk_logits=chunk)

    rows = max(1, min(training.micro_batch_tokens, training.batch_tokens // count) // context)
    while (
        asked.micro_batch_tokens is None and rows > 1 and sum(memory(rows).values()) > card.memory
    ):
        rows //= 2
    return rows, memory(rows)


def _measured(memory: dict[str, int], peak: int | None, rows: Rows) -> dict[str, int]:
    """`memory` with all that does not stay between steps as it was measured, not predicted.

    A few batches that differ in shape do not show what the largest takes.
    """
    stays = {name: size for name, size in memory.items() if name in STAYS}
    least = sum((memory if isinstance(rows, SortedPairs) else stays).values())
    if peak is None or peak <= least:
        return memory
    return {**stays, "gradients, activations and workspace": peak - sum(stays.values())}


def _sizes(recipe: Recipe, vocab_size: int, corpus_tokens: int | None) -> dict[str, Any]:
    model = recipe.model
    parameters = count_parameters(model, shape_of(model), vocab_size)
    return {
        "parameters": parameters,
        "vocab_size": vocab_size,
        "depth": model.depth,
        "width": model.width,
        "context": model.context,
        "family": model.family,
        "budget": recipe.training.budget,
        "batch_tokens": recipe.training.batch_tokens,
        "corpus_tokens": corpus_tokens,
        # What it starts from has learned already.
        "optimal_tokens": None if model.init_from else TOKENS_PER_PARAMETER * parameters,
    }


def advice(plan: dict[str, Any]) -> list[str]:
    """What the figures mean for the data and the size, in sentences."""
    said = []
    corpus, best = plan["corpus_tokens"], plan["optimal_tokens"]
    if plan["epochs"] is not None and plan["epochs"] > MOST_EPOCHS + 1:
        said.append(
            f"The corpus is read {plan['epochs']:.0f} times; after {MOST_EPOCHS} times it teaches "
            "little more: take a smaller training.budget, or more text."
        )
    if corpus is not None and best is not None and best > MOST_EPOCHS * corpus:
        said.append(
            f"{plan['parameters'] / 1e6:,.1f}M parameters are worth {count_text(best)} tokens; this"
            f" corpus, read {MOST_EPOCHS} times, has {count_text(MOST_EPOCHS * corpus)}."
        )
    # C = 6 N D with D = 20 N
    size = math.sqrt(plan["flops"] / (6 * TOKENS_PER_PARAMETER))
    if best is not None and size >= SMALLEST_ADVISED and not 0.5 < size / plan["parameters"] < 2:
        said.append(
            f"With this compute a model of about {count_text(size)} parameters, trained on "
            f"{count_text(TOKENS_PER_PARAMETER * size)} tokens, would learn most: "
            f"model.size={count_text(size).lower()}."
        )
    if plan.get("fits") is False:
        one_row = plan["micro_batch_tokens"] <= plan["context"]
        smaller = "model.size or model.context" if one_row else "training.micro_batch_tokens"
        said.append(
            f"It does not fit on {plan['device']}: {bytes_text(sum(plan['memory'].values()))}. "
            f"Take a smaller {smaller}."
        )
    return said


def count_text(number: float) -> str:
    """'13.9M'."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.0f}"
