"""Muon, an optimizer for matrices, as an optimizer of the library's kind.

Notable ideas:
- Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/): the update of a matrix is its
  Nesterov momentum, orthogonalized by five Newton-Schulz steps. Matrices of one shape go through
  the iteration as one batch: one at a time is many times slower.
- Blocks (after arXiv 2510.16981): a matrix is cut into slices that are orthogonalized each by
  itself, which costs a fraction, for the work grows with the square of the shorter side.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration, from the Muon post: steep at zero, so that small singular
# values reach about 1 within five steps.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices_NRC: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each of N matrices (R, C), roughly.

    Runs in the type it is given: bf16 is enough, fp32 when results must be compared.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices_NRC
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def orthogonalize_in_blocks(matrices_NRC: Tensor, block: int) -> Tensor:
    """`orthogonalize` for slices of `block` rows, or columns where these are more.

    A matrix whose longer side is no multiple of `block`, or whose shorter side is not longer, is
    taken whole. The size (Frobenius norm) of the result is that of a whole matrix's.
    """
    count, rows, columns = matrices_NRC.shape
    longer, shorter = max(rows, columns), min(rows, columns)
    if longer % block or shorter <= block:
        return orthogonalize(matrices_NRC)
    wide = columns > rows
    lying = matrices_NRC.mT if wide else matrices_NRC  # (N, longer, shorter)
    slices = lying.reshape(count * (longer // block), block, shorter)
    joined = orthogonalize(slices).reshape(count, longer, shorter) * (shorter / longer) ** 0.5
    return joined.mT if wide else joined


class Muon(torch.optim.Optimizer):
    """Muon over two-dimensional parameters.

    Args:
        parameters: matrices.
        lr: the size of an update: the spectral norm of a square matrix's change in one step.
        momentum: of the gradient average (Nesterov).
        weight_decay: decoupled, times the rate.
        block: matrices are orthogonalized in slices of so many rows or columns; 0: whole.
        dtype: type of the Newton-Schulz iteration.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        block: int = 0,
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype
        self.orthogonalize: Callable[[Tensor], Tensor] = (
            partial(orthogonalize_in_blocks, block=block) if block else orthogonalize
        )
        self.found_inf: Tensor | None = None  # as the fused AdamW has it: 1 leaves the step out

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            for parameters in _by_shape(learning).values():
                self._step_shape(parameters, group)

    def _step_shape(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        weights: list[Tensor] = []
        averages: list[Tensor] = []
        gradients: list[Tensor] = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            weights.append(parameter)
            averages.append(state["momentum"])
            gradients.append(parameter.grad)
        momentum, rate = group["momentum"], group["lr"]  # tensors on a GPU
        decay: float | Tensor = group["weight_decay"]
        if self.found_inf is not None:
            left_out = self.found_inf > 0
            pairs = zip(averages, gradients, strict=True)
            gradients = [torch.where(left_out, old, new) for old, new in pairs]
        updates = self.orthogonalize(_nesterov(averages, gradients, momentum).to(self.dtype))
        rows, columns = updates.shape[-2:]
        # A tall matrix gets a longer step, so that outputs change alike whatever the shape.
        scale = rate * max(1.0, rows / columns) ** 0.5
        if self.found_inf is not None:
            kept = 1 - self.found_inf
            updates, decay = updates * kept, decay * kept
        torch._foreach_mul_(weights, 1 - rate * decay)
        updates = updates.to(weights[0].dtype)
        if isinstance(scale, Tensor):
            torch._foreach_sub_(weights, list(updates * scale))
        else:
            torch._foreach_add_(weights, list(updates), alpha=-scale)


def _nesterov(averages: list[Tensor], gradients: list[Tensor], momentum: float | Tensor) -> Tensor:
    """Move the averages towards the gradients; the gradients moved towards these, stacked."""
    if isinstance(momentum, Tensor):
        for average, gradient in zip(averages, gradients, strict=True):
            average.lerp_(gradient, 1 - momentum)
        return torch.stack(gradients).lerp(torch.stack(averages), momentum)
    torch._foreach_lerp_(averages, gradients, 1 - momentum)
    return torch.stack(torch._foreach_lerp(gradients, averages, momentum))


def _by_shape(parameters: list[nn.Parameter]) -> dict[torch.Size, list[nn.Parameter]]:
    found: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        found[parameter.shape].append(parameter)
    return found
