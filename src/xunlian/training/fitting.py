"""Micro-batches that fit in the memory that is free.

The arithmetic of `machine/memory.py` tells what a training takes before anything is built. Where
the usual micro-batches take too much, smaller ones do: the same rows make a step, in more passes.
"""

import os

import torch

from xunlian.errors import InputError
from xunlian.machine.features import available_memory
from xunlian.machine.memory import MicroBatch, mask_bytes, predict_training_memory
from xunlian.models.losses import chunk_logits
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import CHAT_TASKS, Recipe, Training
from xunlian.training.objectives import Rows
from xunlian.training.parallel import Group, local_rows
from xunlian.training.teacher import teacher_memory


def fit_micro_batches(
    recipe: Recipe,
    asked: Training,
    vocab_size: int,
    rows: Rows,
    group: Group,
    *,
    compiled: bool,
) -> tuple[Recipe, str | None]:
    """`recipe` with micro-batches that fit, and what to say if they are smaller than usual.

    They are the same in all processes, and as they are where the user `asked` for a size.

    Raises:
        InputError: those asked for do not fit, or not even a single row.
    """
    usual = recipe
    while (
        asked.micro_batch_tokens is None
        and micro_rows(recipe, group) > 1
        and not fits(recipe, vocab_size, rows, group, compiled=compiled)
    ):
        recipe = with_micro_rows(recipe, micro_rows(recipe, group) // 2)
    memory = memory_of(recipe, vocab_size, rows, group, compiled=compiled)
    check_memory(memory, group, can_shrink=micro_rows(recipe, group) > 1)
    if recipe is usual:
        return recipe, None
    tokens = micro_rows(recipe, group) * recipe.model.context
    return recipe, (
        f"Micro-batches of {tokens:,} tokens: larger ones do not fit in the "
        f"{bytes_text(free_memory(group.device))} of memory that are free."
    )


def fits(recipe: Recipe, vocab_size: int, rows: Rows, group: Group, *, compiled: bool) -> bool:
    """Whether the training fits, in every process of the group."""
    memory = memory_of(recipe, vocab_size, rows, group, compiled=compiled)
    return not group.sum(float(sum(memory.values()) > free_memory(group.device)))[0]


def with_micro_rows(recipe: Recipe, rows: int) -> Recipe:
    """`recipe` with at most `rows` rows in a forward pass."""
    tokens = rows * recipe.model.context
    training = recipe.training.model_copy(update={"micro_batch_tokens": tokens})
    return recipe.model_copy(update={"training": training})


def free_memory(device: torch.device) -> int:
    """Bytes that this process may take on `device`; processes of one machine share its memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def check_memory(memory: dict[str, int], group: Group, *, can_shrink: bool) -> None:
    """Refuse a training that takes more than there is.

    Raises:
        InputError: it does not fit.
    """
    need, free = sum(memory.values()), free_memory(group.device)
    if need > free:
        parts = ", ".join(f"{name} {bytes_text(size)}" for name, size in memory.items())
        smaller = "training.micro_batch_tokens" if can_shrink else "model.context"
        raise InputError(
            f"This training does not fit in memory: it needs about {bytes_text(need)} ({parts}) "
            f"and {bytes_text(free)} are free. Choose a smaller model.size, or a smaller "
            f"{smaller}."
        )


def memory_of(
    recipe: Recipe, vocab_size: int, rows: Rows, group: Group, *, compiled: bool
) -> dict[str, int]:
    """Predicted bytes by part, at the largest micro-batch."""
    batch = MicroBatch(*rows.largest(micro_rows(recipe, group)))
    chunk = chunk_logits(group.device)
    return memory_of_batch(recipe, vocab_size, batch, compiled=compiled, chunk_logits=chunk)


def memory_of_batch(
    recipe: Recipe, vocab_size: int, batch: MicroBatch, *, compiled: bool, chunk_logits: int
) -> dict[str, int]:
    """Predicted bytes by part of a resolved recipe, of whatever device."""
    training = recipe.training
    assert training.optimizer
    memory = predict_training_memory(
        recipe.model,
        shape_of(recipe.model),
        vocab_size,
        batch=batch,
        precision=training.precision,
        optimizer=training.optimizer,
        attention=training.attention,
        compiled=compiled,
        chunk_logits=chunk_logits,
        adapter=recipe.adapter,
    )
    if training.average_decay:
        memory["averaged weights"] = memory["gradients"]
    if recipe.task in CHAT_TASKS:
        memory["activations"] += mask_bytes(batch, training.precision)
    return memory | teacher_memory(
        recipe,
        vocab_size,
        micro_tokens=batch.rows * batch.target,
        precision=training.precision,
        chunk_logits=chunk_logits,
    )


def micro_rows(recipe: Recipe, group: Group) -> int:
    """Rows of one forward pass: the most that divide a process's share and fit the setting."""
    training, context = recipe.training, recipe.model.context
    assert training.batch_tokens and training.micro_batch_tokens
    _, rows = local_rows(training.batch_tokens // context, group)
    most = max(1, training.micro_batch_tokens // context)
    return max(n for n in range(1, rows + 1) if rows % n == 0 and n <= most)


def bytes_text(size: float) -> str:
    """'1.2 GB'."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
