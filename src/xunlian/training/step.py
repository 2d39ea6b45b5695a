"""One optimizer step: forward and backward over micro-batches, clip, update.

Notable ideas:
- The loss is the mean over the step's real tokens, however the rows are spread over micro-batches
  and processes: sums are taken everywhere and divided once.
- On a GPU nothing in a step waits for the device: loss, norm, clipping and whether the update is
  left out stay there, so the next step is queued while this one runs; a small network's whole step
  is one graph (cuda_graph.py).
"""

import contextlib
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from xunlian.models.decoder import Decoder
from xunlian.models.losses import IGNORED
from xunlian.training.cuda_graph import GraphedStep, Loaded
from xunlian.training.growth import grow
from xunlian.training.losses import Loss
from xunlian.training.objectives import Batch
from xunlian.training.optimizers import Optimizers
from xunlian.training.parallel import Group, as_tensor, wrap
from xunlian.training.teacher import Teacher

CARRIED = "carried/state"


class StepResult:
    """What one step showed. On a GPU the step may still run: the first look waits for its end."""

    def __init__(self, values: Tensor):
        self._values = values.to("cpu", non_blocking=values.is_cuda)
        self._copied = torch.cuda.Event() if values.is_cuda else None
        if self._copied is not None:
            self._copied.record()

    def wait(self) -> None:
        """Return when the step is done."""
        if self._copied is not None:
            self._copied.synchronize()

    @cached_property
    def _read(self) -> list[float]:
        self.wait()
        return self._values.tolist()

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self._read[0]

    @property
    def grad_norm(self) -> float:
        """Before clipping."""
        return self._read[1]

    @property
    def finite(self) -> bool:
        """False when the update was left out."""
        return bool(self._read[2])


class Stepper:
    """Holds the loss with its model, their compiled parts and the optimizers; `step` updates once.

    Args:
        loss: with a model on its device, in training mode.
        optimizers: over the model's parameters.
        micro_rows: rows of one forward pass.
        grad_clip: largest norm of the gradient; 0 leaves it as it is.
        grows: not all parameters learn from the start (growth.py).
    """

    def __init__(
        self,
        loss: Loss,
        optimizers: Optimizers,
        group: Group,
        *,
        micro_rows: int,
        grad_clip: float,
        grows: bool = False,
    ):
        self.model, self.optimizers, self.group = loss.model, optimizers, group
        self.dtype, self.micro_rows, self.grad_clip = loss.dtype, micro_rows, grad_clip
        self.parameters = list(loss.model.parameters())
        self._bare_loss, self._eager_gradients = loss, loss.gradients
        self.loss = wrap(loss, group, grows)
        self._run: Callable[[Loaded], Tensor] = self._update

    def compile(self) -> None:
        """Let blocks and loss go through torch.compile from the next pass on.

        Block by block: all blocks share one compiled code, so depth costs no compile time. On a
        GPU one process alone records the whole step as a graph, too.
        """
        for block in self._blocks:
            block.compile(dynamic=False)
        self._bare_loss.gradients = torch.compile(self._eager_gradients, dynamic=False)
        if self.queues and self.group.size == 1:
            self._run = GraphedStep(self._update, self.optimizers.clear_gradients)

    def uncompile(self) -> None:
        self._run = self._update
        for block in self._blocks:
            block._compiled_call_impl = None
        self._bare_loss.gradients = self._eager_gradients

    def grow(self) -> None:
        """Let the blocks that wait (growth.py) join."""
        assert isinstance(self.model, Decoder)
        grow(self.model)
        self.optimizers.restart_averages()
        if isinstance(self._run, GraphedStep):  # its kernels are those of fewer blocks
            self._run = GraphedStep(self._update, self.optimizers.clear_gradients)

    @property
    def teacher(self) -> Teacher | None:
        return self._bare_loss.teacher

    @property
    def _blocks(self) -> list[nn.Module]:
        return [*self.model.blocks, *(self.teacher.model.blocks if self.teacher else ())]

    @property
    def queues(self) -> bool:
        """Whether `step` returns before the device has done it."""
        return self.group.device.type == "cuda"

    def live_bytes(self) -> int:
        """Bytes of weights and optimizer state, which stay between steps."""
        state = self.optimizers.state_tensors().values()
        own = sum(t.numel() * t.element_size() for t in [*self.parameters, *state])
        return own + (self.teacher.live_bytes if self.teacher else 0)

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

    def load(self, batch: Batch | Loaded) -> Loaded:
        """`batch` on this process's device; on a GPU the copy does not wait."""
        return tuple(as_tensor(array, self.group.device) for array in batch)

    def backward(self, batch: Batch | Loaded) -> Tensor:
        """Add the gradients of this process's rows, arrays of (rows, L); returns their loss sum."""
        batch = self.load(batch)
        total = torch.zeros((), device=self.group.device)
        rows = len(batch[-1])
        for first in range(0, rows, self.micro_rows):
            last = first + self.micro_rows >= rows
            part = slice(first, first + self.micro_rows)
            with contextlib.nullcontext() if last or self.group.size == 1 else self.loss.no_sync():  # type: ignore[operator]
                loss = self.loss(*(tensor[part] for tensor in batch))
                loss.backward()
            total += loss.detach()
        return total

    def step(self, batch: Batch | Loaded, rate_factor: float, momentum_factor: float) -> StepResult:
        """One update from this process's rows; the last array of `batch` is the targets.

        A step whose loss or gradient is not finite changes nothing.
        """
        batch = self.load(batch)
        self.optimizers.set_factors(rate_factor, momentum_factor)
        return StepResult(self._run(batch))

    def _update(self, batch: Loaded) -> Tensor:
        """The step itself; returns what a StepResult shows, on the device."""
        loss_sum = self.backward(batch)
        tokens = (batch[-1] != IGNORED).sum()
        loss_sum, tokens = self.group.sum_on_device(loss_sum, tokens)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # DDP leaves the mean over processes of the summed loss's gradient.
        scale = self.group.size / tokens
        norm = torch.nn.utils.get_total_norm(gradients) * scale
        finite = norm.isfinite() & loss_sum.isfinite()
        result = torch.stack([loss_sum / tokens, norm, finite.to(loss_sum.dtype)])
        if self.grad_clip:
            scale = scale * (self.grad_clip / norm).clamp(max=1.0)
        left_out = finite.logical_not().to(torch.float32) if self.queues else None
        if not self.queues and not finite:
            self.optimizers.clear_gradients()
            return result
        torch._foreach_mul_(gradients, scale.to(torch.float32))
        self.optimizers.update(left_out)
        return result
