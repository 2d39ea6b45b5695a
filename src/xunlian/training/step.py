"""One optimizer step: forward and backward over micro-batches, clip, update.

The loss is the mean over the step's real tokens, however the rows are spread over micro-batches
and processes: sums are taken everywhere and divided once.
"""

import contextlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xunlian.models.decoder import Decoder
from xunlian.models.losses import IGNORED, ChunkGradients, chunk_gradients, cross_entropy
from xunlian.training.optimizers import Optimizers
from xunlian.training.parallel import Group, as_tensor, wrap


class NextTokenLoss(nn.Module):
    """Tokens and targets in, summed cross-entropy in nats out; what DDP wraps."""

    def __init__(self, model: Decoder, dtype: torch.dtype):
        super().__init__()
        self.model, self.dtype = model, dtype
        self.gradients: ChunkGradients = chunk_gradients

    def forward(self, tokens_BL: Tensor, targets_BL: Tensor) -> Tensor:
        hidden_BLD = self.model(tokens_BL, self.dtype)
        return cross_entropy(
            hidden_BLD.flatten(0, 1), self.model.head_weight, targets_BL.flatten(), self.gradients
        )


@dataclass(frozen=True)
class StepResult:
    """What one step showed. `finite` is false when the update was left out."""

    loss: float
    grad_norm: float
    finite: bool


class Stepper:
    """Holds the model, its compiled parts and the optimizers; `step` does one update.

    Args:
        model: on its device, in training mode.
        optimizers: over the model's parameters.
        dtype: compute precision.
        micro_rows: rows of one forward pass.
        grad_clip: largest norm of the gradient; 0 leaves it as it is.
    """

    def __init__(
        self,
        model: Decoder,
        optimizers: Optimizers,
        group: Group,
        *,
        dtype: torch.dtype,
        micro_rows: int,
        grad_clip: float,
    ):
        self.model, self.optimizers, self.group = model, optimizers, group
        self.dtype, self.micro_rows, self.grad_clip = dtype, micro_rows, grad_clip
        self.parameters = list(model.parameters())
        self._next_token_loss = NextTokenLoss(model, dtype)
        self.loss = wrap(self._next_token_loss, group)

    def compile(self) -> None:
        """Let blocks and loss go through torch.compile from the next pass on.

        Block by block: all blocks share one compiled code, so depth costs no compile time.
        """
        for block in self.model.blocks:
            block.compile(dynamic=False)
        self._next_token_loss.gradients = torch.compile(chunk_gradients, dynamic=False)

    def uncompile(self) -> None:
        for block in self.model.blocks:
            block._compiled_call_impl = None
        self._next_token_loss.gradients = chunk_gradients

    def live_bytes(self) -> int:
        """Bytes of weights and optimizer state, which stay between steps."""
        state = self.optimizers.state_tensors().values()
        return sum(t.numel() * t.element_size() for t in [*self.parameters, *state])

    def backward(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Add the gradients of this process's rows, (rows, L) each; returns their loss sum."""
        total = torch.zeros((), device=self.group.device)
        for first in range(0, len(inputs), self.micro_rows):
            last = first + self.micro_rows >= len(inputs)
            part = slice(first, first + self.micro_rows)
            with contextlib.nullcontext() if last or self.group.size == 1 else self.loss.no_sync():  # type: ignore[operator]
                loss = self.loss(
                    as_tensor(inputs[part], self.group.device),
                    as_tensor(targets[part], self.group.device),
                )
                loss.backward()
            total += loss.detach()
        return total.item()

    def step(
        self, inputs: np.ndarray, targets: np.ndarray, rate_factor: float, momentum_factor: float
    ) -> StepResult:
        """One update from this process's rows.

        A step whose loss or gradient is not finite changes nothing.
        """
        loss_sum = self.backward(inputs, targets)
        loss_sum, tokens = self.group.sum(loss_sum, int((targets != IGNORED).sum()))
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # DDP leaves the mean over processes of the summed loss's gradient.
        scale = self.group.size / tokens
        norm = float(torch.nn.utils.get_total_norm(gradients)) * scale
        finite = math.isfinite(norm) and math.isfinite(loss_sum)
        if not finite:
            self.optimizers.clear_gradients()
        else:
            if self.grad_clip and norm > self.grad_clip:
                scale *= self.grad_clip / norm
            torch._foreach_mul_(gradients, scale)
            self.optimizers.step(rate_factor, momentum_factor)
        return StepResult(loss_sum / tokens, norm, finite)
