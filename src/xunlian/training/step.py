"""One optimizer step: forward and backward over micro-batches, clip, update.

The loss is the mean over the step's real tokens, however the rows are spread over micro-batches
and processes: sums are taken everywhere and divided once.
"""

import contextlib
import math
from dataclasses import dataclass

import torch

from xunlian.models.losses import IGNORED
from xunlian.training.objectives import Batch, Loss
from xunlian.training.optimizers import Optimizers
from xunlian.training.parallel import Group, as_tensor, wrap

CARRIED = "carried/state"


@dataclass(frozen=True)
class StepResult:
    """What one step showed. `finite` is false when the update was left out."""

    loss: float
    grad_norm: float
    finite: bool


class Stepper:
    """Holds the loss with its model, their compiled parts and the optimizers; `step` updates once.

    Args:
        loss: with a model on its device, in training mode.
        optimizers: over the model's parameters.
        micro_rows: rows of one forward pass.
        grad_clip: largest norm of the gradient; 0 leaves it as it is.
    """

    def __init__(
        self,
        loss: Loss,
        optimizers: Optimizers,
        group: Group,
        *,
        micro_rows: int,
        grad_clip: float,
    ):
        self.model, self.optimizers, self.group = loss.model, optimizers, group
        self.dtype, self.micro_rows, self.grad_clip = loss.dtype, micro_rows, grad_clip
        self.parameters = list(loss.model.parameters())
        self._bare_loss, self._eager_gradients = loss, loss.gradients
        self.loss = wrap(loss, group)

    def compile(self) -> None:
        """Let blocks and loss go through torch.compile from the next pass on.

        Block by block: all blocks share one compiled code, so depth costs no compile time.
        """
        for block in self.model.blocks:
            block.compile(dynamic=False)
        self._bare_loss.gradients = torch.compile(self._eager_gradients, dynamic=False)

    def uncompile(self) -> None:
        for block in self.model.blocks:
            block._compiled_call_impl = None
        self._bare_loss.gradients = self._eager_gradients

    def live_bytes(self) -> int:
        """Bytes of weights and optimizer state, which stay between steps."""
        state = self.optimizers.state_tensors().values()
        return sum(t.numel() * t.element_size() for t in [*self.parameters, *state])

    def carried_tensors(self) -> dict[str, torch.Tensor]:
        """What goes on from step to step beside weights and optimizer state, of all processes.

        Every process must call it.
        """
        carried = self._bare_loss.carried
        if carried is None:
            return {}
        return {CARRIED: self.group.gather_share(carried, dim=2)}

    def load_carried(self, tensors: dict[str, torch.Tensor]) -> None:
        """The reverse of `carried_tensors`; other tensors are passed over."""
        if self._bare_loss.carried is not None:
            self._bare_loss.carried.copy_(tensors[CARRIED])

    def backward(self, batch: Batch) -> float:
        """Add the gradients of this process's rows, arrays of (rows, L); returns their loss sum."""
        total = torch.zeros((), device=self.group.device)
        rows = len(batch[-1])
        for first in range(0, rows, self.micro_rows):
            last = first + self.micro_rows >= rows
            part = slice(first, first + self.micro_rows)
            with contextlib.nullcontext() if last or self.group.size == 1 else self.loss.no_sync():  # type: ignore[operator]
                loss = self.loss(*(as_tensor(array[part], self.group.device) for array in batch))
                loss.backward()
            total += loss.detach()
        return total.item()

    def step(self, batch: Batch, rate_factor: float, momentum_factor: float) -> StepResult:
        """One update from this process's rows; the last array of `batch` is the targets.

        A step whose loss or gradient is not finite changes nothing.
        """
        loss_sum = self.backward(batch)
        loss_sum, tokens = self.group.sum(loss_sum, int((batch[-1] != IGNORED).sum()))
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
