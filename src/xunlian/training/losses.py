"""What each task minimizes: a module that takes a batch of its rows and gives summed nats."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xunlian.evaluation.preferences import compare
from xunlian.interop.huggingface import Model
from xunlian.models.decoder import Decoder
from xunlian.models.distillation import distilled_gradients
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.log_probs import log_prob_gradients
from xunlian.models.losses import IGNORED, ChunkGradients, chunk_gradients, cross_entropy
from xunlian.models.preference import answer_log_probs
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.preference import Preference
from xunlian.training.teacher import Teacher


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


class PreferenceLoss(Loss):
    """Of packed preferences (data/preferences.py): as their method has it, summed over them."""

    model: Decoder

    def __init__(self, model: Decoder, dtype: torch.dtype, settings: Preference, smoothing: float):
        super().__init__(model, dtype)
        self.settings, self.smoothing = settings, smoothing  # of preferences, not of tokens
        learns = model.head_weight.requires_grad
        self.gradients = (
            log_prob_gradients if learns else partial(log_prob_gradients, by_weight=False)
        )

    def forward(self, *batch: Tensor) -> Tensor:
        inputs_R2L, numbers_R2L, positions_R2L, targets_R2L, reference_R2P, which_RP = batch
        log_p_R2P, tokens_R2P = answer_log_probs(
            self.model,
            inputs_R2L,
            numbers_R2L,
            positions_R2L,
            targets_R2L,
            which_RP.shape[1],
            self.dtype,
            self.gradients,
        )
        losses_RP, _ = compare(log_p_R2P, tokens_R2P, reference_R2P, self.settings, self.smoothing)
        return (losses_RP * (which_RP != IGNORED)).sum()


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
