"""A recurrent language model made ready for generating: models/recurrent.py in few operations.

Notable ideas:
- What it remembers is a state of one size, so a token costs the same however long the text is, and
  no window has to slide: `context` is without end.
- As in engine.py: gains of norms multiplied into what follows them, and in bf16 only what is read
  much: norms and the residual stream stay in fp32. The layers are those of training: a prompt goes
  through the library's fused loop.

Shapes: B rows, L length, D width, N layers, S tensors of state, V vocabulary.
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.decoding.packed import Function, product
from xunlian.models.layers import RMSNorm
from xunlian.models.recurrence import Recurrence, scan
from xunlian.models.recurrent import RecurrentBlock, RecurrentModel

READ_TOKENS = 8192  # prompt tokens in one forward pass


@dataclass(frozen=True)
class RecurrentLayer:
    """One layer with its weights made ready: `weights` as `scan` takes them."""

    family: str
    norm: Function
    weights: list[Tensor]

    def __call__(self, x_LBD: Tensor, state_SBD: Tensor) -> tuple[Tensor, Tensor]:
        """x + recurrence(norm(x)), and the state after it."""
        normed_LBD = self.norm(x_LBD).to(self.weights[0].dtype)
        y_LBD, state_SBD = scan(self.family, normed_LBD, state_SBD, self.weights)
        return x_LBD + y_LBD.float(), state_SBD


def prepare_layer(block: RecurrentBlock, dtype: torch.dtype) -> RecurrentLayer:
    norm, gain = prepare_norm(block.norm)
    layer: Recurrence = block.recurrence
    return RecurrentLayer(layer.family, norm, [w.detach() for w in layer.weights(dtype, gain)])


def prepare_norm(norm: RMSNorm) -> tuple[Function, Tensor]:
    """A norm without its gain, and the gain to multiply into the matrix that follows it."""
    return norm.without_gain, norm.weight


class State:
    """What every row remembers: (N, S, B, D). In the place of a cache."""

    def __init__(self, tensor_NSBD: Tensor):
        self.tensor_NSBD = tensor_NSBD
        self.used = 0  # tokens of the longest row; nothing depends on it

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        index = torch.tensor(rows, device=self.tensor_NSBD.device)
        self.tensor_NSBD = self.tensor_NSBD.index_select(2, index)

    def close_up(self) -> None:
        """There are no columns to close up."""


class RecurrentEngine:
    """Reads tokens into a state and gives the logits of the next one."""

    context = sys.maxsize  # tokens that a text may have

    @torch.inference_mode()
    def __init__(self, model: RecurrentModel, precision: str):
        """`precision` is 'fp32' or 'bf16': that of the matrix products."""
        self.config = model.config
        self.precision = precision
        self.device = model.embedding.weight.device
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._embedding = model.embedding.weight.detach()
        self._new_state = model.new_state
        self._layers = [
            prepare_layer(block, dtype)
            for block in model.layers
            if isinstance(block, RecurrentBlock)
        ]
        self._norm, gain = prepare_norm(model.norm)
        self._head = product(model.head_weight, None, gain, dtype)

    def new_cache(self, rows: int, columns: int) -> State:
        return State(self._new_state(rows))

    @torch.inference_mode()
    def read(self, state: State, texts: dict[int, list[int]]) -> dict[int, Tensor]:
        """Read whole texts, row -> tokens, in place of what these rows held.

        Returns row -> logits (V) of its next token.
        """
        logits: dict[int, Tensor] = {}
        by_length: dict[int, list[int]] = {}
        for row, tokens in texts.items():
            by_length.setdefault(len(tokens), []).append(row)
        for rows in by_length.values():
            tokens_BL = torch.tensor([texts[row] for row in rows], device=self.device)
            state_NSBD = self._new_state(len(rows))
            for part_BL in tokens_BL.split(max(1, READ_TOKENS // len(rows)), dim=1):
                logits_BV, state_NSBD = self._forward(part_BL, state_NSBD)
            state.tensor_NSBD[:, :, rows] = state_NSBD
            logits |= dict(zip(rows, logits_BV, strict=True))
        return logits

    @torch.inference_mode()
    def step(self, state: State, tokens_B: Tensor) -> Tensor:
        """Append one token to every row. Returns the logits (B, V) of the next, in fp32."""
        logits_BV, state.tensor_NSBD = self._forward(tokens_B.unsqueeze(1), state.tensor_NSBD)
        state.used += 1
        return logits_BV

    def _forward(self, tokens_BL: Tensor, state_NSBD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, V) after the last token, and the state there."""
        x_LBD = F.embedding(tokens_BL.t(), self._embedding)
        states = []
        for layer, before_SBD in zip(self._layers, state_NSBD, strict=True):
            x_LBD, after_SBD = layer(x_LBD, before_SBD)
            states.append(after_SBD)
        return self._head(self._norm(x_LBD[-1])).float(), torch.stack(states)
