"""Muon for the matrices, AdamW for everything else, as plain functions over a small state.

Notable ideas:
- Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/): the update of a matrix is its
  Nesterov momentum, orthogonalized by five Newton-Schulz steps. Matrices of one shape go through
  the iteration as one batch: one at a time is many times slower.
- AdamW (arXiv 1711.05101) through the library's fused kernel.
- Groups carry their own peak rates; the schedule scales them all by one factor.
"""

from collections import defaultdict
from collections.abc import Iterable

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
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon over two-dimensional parameters.

    Args:
        parameters: matrices.
        lr: the size of an update: the spectral norm of a square matrix's change in one step.
        momentum: of the gradient average (Nesterov).
        weight_decay: decoupled, times the rate.
        dtype: type of the Newton-Schulz iteration.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95,
                 weight_decay: float = 0.0, dtype: torch.dtype = torch.bfloat16):
        super().__init__(parameters, {"lr": lr, "momentum": momentum,
                                      "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_shape(parameters, group)

    def _step_shape(self, parameters: list[nn.Parameter], group: dict[str, float]) -> None:
        averages = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            averages.append(state["momentum"])
        gradients = [parameter.grad for parameter in parameters]
        momentum, rate = group["momentum"], group["lr"]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        nesterov = torch._foreach_lerp(gradients, averages, momentum)
        updates = orthogonalize(torch.stack(nesterov).to(self.dtype))
        rows, columns = updates.shape[-2:]
        # A tall matrix gets a longer step, so that outputs change alike whatever the shape.
        scale = rate * max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype)), alpha=-scale)
