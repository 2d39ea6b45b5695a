"""What each task learns from, what it minimizes (losses.py), how it is validated.

Everything else of a training is the same for all tasks: it sees rows of arrays, of which the last
holds the targets, a loss module, and sums of nats over ranges of validation rows.
"""

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from xunlian.data.contiguous import ContiguousRows
from xunlian.data.conversations import ChatRows
from xunlian.data.packed import PackedRows
from xunlian.data.pairs import PairRows
from xunlian.data.preferences import PreferenceRows
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.errors import InputError
from xunlian.evaluation.chats import ChatValidation
from xunlian.evaluation.pairs import PairValidation
from xunlian.evaluation.perplexity import StreamValidation
from xunlian.evaluation.preferences import ALSO, PreferenceValidation
from xunlian.evaluation.recurrent import CarriedValidation
from xunlian.interop.huggingface import Model
from xunlian.models.decoder import Decoder
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import CHAT_TASKS, PAIR_TASKS, Recipe
from xunlian.recipe.size import training_flops_per_pair, training_flops_per_token
from xunlian.shards.corpus import MASK, Corpus
from xunlian.training.losses import (
    CarriedLoss,
    ChatLoss,
    Loss,
    NextTokenLoss,
    PairLoss,
    PreferenceLoss,
    SortedPairLoss,
)
from xunlian.training.teacher import teacher_flops

OWN_FORMAT = "Other engines have no class for this network: only Xunlian opens its model/."

Batch = tuple[np.ndarray, ...]
"""Arrays of (rows, ...); the last holds the targets, IGNORED where there is none."""


class Rows(Protocol):
    """Training rows by index."""

    context: int
    rows_per_epoch: int

    @property
    def row_tokens(self) -> float:
        """Tokens of a row, on average, padding not counted."""
        ...

    def read(self, first: int, count: int) -> Batch: ...

    def largest(self, count: int) -> tuple[int, int, int]:
        """Of the largest batch of `count` rows: rows to the network, their target places, and
        their source places (0 where there is none)."""
        ...


class Validation(Protocol):
    """A validation text in parts, which processes share out."""

    @property
    def parts(self) -> int: ...

    def nats(self, model: Any, first: int, last: int, dtype: torch.dtype) -> tuple[float, ...]:
        """Sum of -log p over the targets of parts first .. last-1, and how many targets; then the
        sums of what `Objective.also` names."""
        ...


@dataclass(frozen=True)
class Objective:
    """A task's rows and validation.

    Attributes:
        flops_per_token: of forward and backward, for one token of `rows.row_tokens`.
        validation: None when nothing is held out.
        notes: what a user should know.
        also: names of further means that the validation gives.
    """

    rows: Rows
    validation: Validation | None
    flops_per_token: float
    notes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def objective_of(recipe: Recipe, corpus: Corpus) -> Objective:
    """The objective of a resolved recipe on this corpus.

    Raises:
        InputError: the corpus holds nothing that fits the context.
    """
    objective = _objective_of(recipe, corpus)
    flops = objective.flops_per_token + teacher_flops(recipe, corpus.vocab_size)
    return replace(objective, flops_per_token=flops)


def _objective_of(recipe: Recipe, corpus: Corpus) -> Objective:
    if recipe.task in PAIR_TASKS:
        return _pairs(recipe, corpus)
    if recipe.task == "chat":
        return _chats(recipe, corpus)
    if recipe.task == "preference":
        return _preferences(recipe, corpus)
    shape, context = shape_of(recipe.model), recipe.model.context
    train, val, seed = corpus.stream("train"), corpus.stream("val"), recipe.training.seed
    rows: Rows
    own = isinstance(shape, RecurrentShape) or recipe.model.architecture == "speedrun"
    notes = (OWN_FORMAT,) if own else ()
    if isinstance(shape, RecurrentShape):
        validation: type[StreamValidation] | type[CarriedValidation] = CarriedValidation
        rows = ContiguousRows(train, context, _rows_per_step(recipe), seed)
    else:
        validation, rows = StreamValidation, PackedRows(train, context, seed)
    return Objective(
        rows,
        validation(val, context) if len(val) > 1 else None,
        training_flops_per_token(
            recipe.model, shape, corpus.vocab_size, frozen=recipe.adapter is not None
        ),
        notes,
    )


def _rows_per_step(recipe: Recipe) -> int:
    assert recipe.training.batch_tokens
    return recipe.training.batch_tokens // recipe.model.context


def _pairs(recipe: Recipe, corpus: Corpus) -> Objective:
    context, shape = recipe.model.context, shape_of(recipe.model)
    recurrent = isinstance(shape, RecurrentShape)

    def rows_of(split: str) -> PairRows | SortedPairs | None:
        if not corpus.split_card(split)["pairs"]:
            return None
        columns = (corpus.stream(split, "source"), corpus.stream(split, "target"))
        start, seed = corpus.start_id, recipe.training.seed if split == "train" else None
        if not recurrent:
            return PairRows(*columns, context, start, seed)
        return SortedPairs(*columns, context, _rows_per_step(recipe), start, seed)

    rows, val = rows_of("train"), None
    assert rows is not None
    with contextlib.suppress(InputError):  # those to train on fit, which is enough to go on
        val = rows_of("val")
    per_pair = training_flops_per_pair(
        recipe.model,
        shape,
        corpus.vocab_size,
        rows.source_tokens,
        rows.target_tokens,
        frozen=recipe.adapter is not None,
    )
    notes = [OWN_FORMAT]
    if isinstance(rows, PairRows):
        packed = rows.pairs / rows.rows_per_epoch
        notes = [f"Rows hold {packed:.1f} pairs and are {rows.filled:.0%} full."]
    left_out = rows.left_out + (val.left_out if val else 0)
    if left_out:
        notes.append(
            f"{left_out:,} pairs are left out: longer than model.context = {context} tokens."
        )
    if val is None and corpus.split_card("val")["pairs"]:
        notes.append(
            "Nothing is validated: all pairs that are held out are longer than model.context = "
            f"{context} tokens."
        )
    return Objective(
        rows,
        PairValidation(val) if val else None,
        per_pair / (rows.source_tokens + rows.target_tokens),
        tuple(notes),
    )


def _chats(recipe: Recipe, corpus: Corpus) -> Objective:
    context, seed = recipe.model.context, recipe.training.seed

    rows = ChatRows(corpus.stream("train"), corpus.stream("train", MASK), context, seed)
    packed = rows.conversations / rows.rows_per_epoch
    val = None
    if corpus.split_card("val")["documents"]:
        with contextlib.suppress(InputError):  # those to train on fit, which is enough to go on
            val = ChatRows(corpus.stream("val"), corpus.stream("val", MASK), context, None)
    notes = _fitting(recipe, corpus, packed, rows, val)
    return Objective(
        rows,
        ChatValidation(val) if val else None,
        training_flops_per_token(recipe.model, shape_of(recipe.model), corpus.vocab_size),
        notes,
    )


def _preferences(recipe: Recipe, corpus: Corpus) -> Objective:
    context = recipe.model.context
    assert recipe.preference

    def rows_of(split: str, seed: int | None) -> PreferenceRows:
        tokens, marks = (
            [corpus.stream(split, f"{side}{end}") for side in ("chosen", "rejected")]
            for end in ("", f".{MASK}")
        )
        return PreferenceRows(tokens, marks, context, seed)

    rows = rows_of("train", recipe.training.seed)
    val = None
    if corpus.split_card("val")["documents"]:
        with contextlib.suppress(InputError):
            val = rows_of("val", None)
    notes = _fitting(recipe, corpus, rows.preferences / rows.rows_per_epoch, rows, val)
    smoothing = recipe.training.label_smoothing or 0.0
    return Objective(
        rows,
        PreferenceValidation(val, recipe.preference, smoothing) if val else None,
        training_flops_per_token(
            recipe.model,
            shape_of(recipe.model),
            corpus.vocab_size,
            frozen=recipe.adapter is not None,
        ),
        notes,
        ALSO,
    )


def _fitting(
    recipe: Recipe,
    corpus: Corpus,
    packed: float,
    rows: ChatRows | PreferenceRows,
    val: ChatRows | PreferenceRows | None,
) -> tuple[str, ...]:
    """How rows are filled, and what does not fit into them."""
    what, longer = CHAT_TASKS[recipe.task], f"longer than model.context = {recipe.model.context}"
    notes = [f"Rows hold {packed:.1f} {what} and are {rows.filled:.0%} full."]
    if corpus.split_card("val")["documents"] and val is None:
        notes.append(f"Nothing is validated: all {what} that are held out are {longer} tokens.")
    for outcome, count in (
        ("lose their oldest turns", rows.cut + (val.cut if val else 0)),
        ("are left out", rows.left_out + (val.left_out if val else 0)),
    ):
        if count:
            notes.append(f"{count:,} {what} {outcome}: {longer} tokens.")
    return tuple(notes)


def loss_of(recipe: Recipe, model: Model, dtype: torch.dtype) -> Loss:
    """The loss of a resolved recipe's task, with its model inside."""
    smoothing = recipe.training.label_smoothing or 0.0
    if isinstance(model, RecurrentModel):
        return CarriedLoss(model, dtype, smoothing, _rows_per_step(recipe))
    if isinstance(model, RecurrentPairModel):
        return SortedPairLoss(model, dtype, smoothing)
    if recipe.task == "chat":
        assert isinstance(model, Decoder)
        model.neftune_alpha = recipe.training.neftune_alpha
        return ChatLoss(model, dtype, smoothing)
    if recipe.task == "preference":
        assert isinstance(model, Decoder) and recipe.preference
        return PreferenceLoss(model, dtype, recipe.preference, smoothing)
    kind = PairLoss if recipe.task in PAIR_TASKS else NextTokenLoss
    return kind(model, dtype, smoothing)


def learned_tokens(corpus: Corpus, split: str = "train") -> int:
    """Tokens that are predicted once in an epoch: all of a text, or the targets of pairs; of
    preferences those of the chosen side, as long as the other one."""
    column = "chosen" if corpus.task == "preference" else None
    return corpus.tokens(split, "target" if corpus.task in PAIR_TASKS else column)


def epoch_tokens(objective: Objective, corpus: Corpus) -> int:
    """What an epoch counts for in batch_tokens: of pairs and conversations, whole rows."""
    if corpus.task != "language-model":
        return objective.rows.rows_per_epoch * objective.rows.context
    return corpus.tokens("train")
