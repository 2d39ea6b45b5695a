"""What each task learns from, what it minimizes, how it is validated.

Everything else of a training is the same for all tasks: it sees rows of arrays, of which the last
holds the targets, a loss module, and sums of nats over ranges of validation rows.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from xunlian.data.contiguous import ContiguousRows
from xunlian.data.conversations import ChatRows
from xunlian.data.packed import PackedRows
from xunlian.data.pairs import PairRows
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.errors import InputError
from xunlian.evaluation.chats import ChatValidation
from xunlian.evaluation.pairs import PairValidation
from xunlian.evaluation.perplexity import StreamValidation
from xunlian.evaluation.recurrent import CarriedValidation
from xunlian.interop.huggingface import Model
from xunlian.models.decoder import Decoder
from xunlian.models.distillation import distilled_gradients
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.losses import ChunkGradients, chunk_gradients, cross_entropy
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.recipe.size import training_flops_per_pair, training_flops_per_token
from xunlian.shards.corpus import MASK, Corpus
from xunlian.training.teacher import Teacher, teacher_flops

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

    def nats(self, model: Any, first: int, last: int, dtype: torch.dtype) -> tuple[float, int]:
        """Sum of -log p over the targets of parts first .. last-1, and how many targets."""
        ...


class Loss(nn.Module):
    """A batch in, summed loss in nats out; what DDP wraps.

    `gradients` may be replaced by a compiled form of itself. A `teacher` reads the same batch.
    """

    gradients: ChunkGradients
    carried: Tensor | None = None  # what goes on from step to step, beside the weights
    teacher: Teacher | None = None

    def __init__(self, model: Model, dtype: torch.dtype, smoothing: float = 0.0):
        super().__init__()
        self.model, self.dtype = model, dtype
        self._options: dict[str, Any] = {"smoothing": smoothing} if smoothing else {}
        if not model.head_weight.requires_grad:
            self._options["by_weight"] = False
        self.gradients = (
            partial(chunk_gradients, **self._options) if self._options else chunk_gradients
        )

    def learn_from(self, teacher: Teacher) -> None:
        """Learn the teacher's probabilities, too."""
        self.teacher = teacher
        self.gradients = partial(
            distilled_gradients,
            temperature=teacher.temperature,
            hard_weight=teacher.hard_weight,
            **self._options,
        )

    def forward(self, *batch: Tensor) -> Tensor:
        *inputs, targets = batch
        taught = None
        if self.teacher:
            with torch.no_grad():
                hidden = self.hidden(self.teacher.model, *inputs)
            taught = (hidden.flatten(0, 1), self.teacher.head_KE)
        return cross_entropy(
            self.hidden(self.model, *inputs).flatten(0, 1),
            self.model.head_weight,
            targets.flatten(),
            self.gradients,
            taught,
        )

    def hidden(self, model: Any, *inputs: Tensor) -> Tensor:
        """What `model` makes of all arrays of a batch but the targets: (rows, L, D)."""
        raise NotImplementedError


class NextTokenLoss(Loss):
    """Of every token of a text, from those before it."""

    def hidden(self, model: Decoder, *inputs: Tensor) -> Tensor:
        (tokens_BL,) = inputs
        return model(tokens_BL, self.dtype)


class PairLoss(Loss):
    """Of every target token, from its source and the target tokens before it."""

    def hidden(self, model: EncoderDecoder, *inputs: Tensor) -> Tensor:
        source_BS, source_pairs_BS, inputs_BT, target_pairs_BT = inputs
        return model(source_BS, source_pairs_BS, inputs_BT, target_pairs_BT, self.dtype)


class ChatLoss(Loss):
    """Of the answers of packed conversations (data/conversations.py), each from what came before
    in its own conversation."""

    def hidden(self, model: Decoder, *inputs: Tensor) -> Tensor:
        inputs_BL, numbers_BL, positions_BL = inputs
        return model.confined(inputs_BL, numbers_BL, positions_BL, self.dtype)


class CarriedLoss(Loss):
    """As NextTokenLoss, of a recurrent network whose rows go on where those before ended.

    Each lane (data/contiguous.py) has its state in `carried`, (layers, S, lanes, D), cut off from
    the gradients: truncated backpropagation through time.
    """

    carried: Tensor

    def __init__(self, model: RecurrentModel, dtype: torch.dtype, smoothing: float, lanes: int):
        super().__init__(model, dtype, smoothing)
        self.carried = model.new_state(lanes)

    def hidden(self, model: RecurrentModel, *inputs: Tensor) -> Tensor:
        """The last array says which lanes forget what they had read."""
        tokens_BL, lanes_B, begins_B = inputs
        state = self.carried[:, :, lanes_B].masked_fill(begins_B.unsqueeze(-1), 0.0)
        hidden_BLD, state = model.advance_state(tokens_BL, state, self.dtype)
        self.carried[:, :, lanes_B] = state
        return hidden_BLD


class SortedPairLoss(Loss):
    """As PairLoss, of one pair a row: arrays are (rows, pairs, length)."""

    def hidden(self, model: RecurrentPairModel, *inputs: Tensor) -> Tensor:
        return model(*(array.flatten(0, 1) for array in inputs), self.dtype)


@dataclass(frozen=True)
class Objective:
    """A task's rows and validation.

    Attributes:
        flops_per_token: of forward and backward, for one token of `rows.row_tokens`.
        validation: None when nothing is held out.
        notes: what a user should know.
    """

    rows: Rows
    validation: Validation | None
    flops_per_token: float
    notes: tuple[str, ...] = ()


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
        start, seed = corpus.pad_id, recipe.training.seed if split == "train" else None
        if not recurrent:
            return PairRows(*columns, context, start, seed)
        return SortedPairs(*columns, context, _rows_per_step(recipe), start, seed)

    rows, val = rows_of("train"), rows_of("val")
    assert rows is not None
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
    notes = [f"Rows hold {packed:.1f} conversations and are {rows.filled:.0%} full."]
    val = None
    if corpus.split_card("val")["documents"]:
        try:
            val = ChatRows(corpus.stream("val"), corpus.stream("val", MASK), context, None)
        except InputError:  # those to train on fit, which is enough to go on
            notes.append(
                f"Nothing is validated: every held-out conversation is longer than model.context = "
                f"{context} tokens."
            )
    for what, count in (
        ("lose their oldest turns", rows.cut + (val.cut if val else 0)),
        ("are left out", rows.left_out + (val.left_out if val else 0)),
    ):
        if count:
            notes.append(
                f"{count:,} conversations {what}: longer than model.context = {context} tokens."
            )
    return Objective(
        rows,
        ChatValidation(val) if val else None,
        training_flops_per_token(recipe.model, shape_of(recipe.model), corpus.vocab_size),
        tuple(notes),
    )


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
    kind = PairLoss if recipe.task in PAIR_TASKS else NextTokenLoss
    return kind(model, dtype, smoothing)


def learned_tokens(corpus: Corpus, split: str = "train") -> int:
    """Tokens that are predicted once in an epoch: all of a text, or the targets of pairs."""
    return corpus.tokens(split, "target" if corpus.task in PAIR_TASKS else None)


def epoch_tokens(objective: Objective, corpus: Corpus) -> int:
    """What an epoch counts for in batch_tokens: of pairs and conversations, whole rows."""
    if corpus.task != "language-model":
        return objective.rows.rows_per_epoch * objective.rows.context
    return corpus.tokens("train")
