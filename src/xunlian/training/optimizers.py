"""Muon for the matrices, AdamW for everything else, as plain functions over a small state.

Notable ideas:
- Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/): the update of a matrix is its
  Nesterov momentum, orthogonalized by five Newton-Schulz steps. Matrices of one shape go through
  the iteration as one batch: one at a time is many times slower.
- Blocks (after arXiv 2510.16981): a matrix is cut into slices that are orthogonalized each by
  itself, which costs a fraction, for the work grows with the square of the shorter side.
- AdamW (arXiv 1711.05101) through the library's fused kernel.
- The second matrix of an adapter, which starts at zero, learns faster under AdamW than the first
  (LoRA+, arXiv 2402.12354).
- Groups carry their own peak rates; the schedule scales them all by one factor.
- An exponential moving average of the weights (arXiv 1803.05407 and before), on demand, is what is
  validated and kept.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration, from the Muon post: steep at zero, so that small singular
# values reach about 1 within five steps.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
UP_RATE = 8.0  # of an adapter's second matrix, in the rate of the first
AVERAGE = "average"  # the name of the averaged weights in a saved state


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


@dataclass(frozen=True)
class OptimizerSettings:
    """Peak rates by kind of parameter, and the constants of both optimizers."""

    kind: str
    learning_rate: float
    embedding_learning_rate: float
    head_learning_rate: float
    norm_learning_rate: float
    weight_decay: float
    momentum: float
    betas: tuple[float, float]
    iteration_dtype: torch.dtype
    average_decay: float = 0.0
    muon_block: int = 0


class Optimizers:
    """The optimizers of a model as one: Muon for the blocks' matrices, AdamW for the rest."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings):
        kinds: dict[str, list[nn.Parameter]] = defaultdict(list)
        self.names: dict[Tensor, str] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                kinds[_kind(name, parameter)].append(parameter)
                self.names[parameter] = name
        self.muon = None
        groups = []
        if settings.kind == "muon":
            kinds["matrix"] += kinds.pop("up", [])
        if settings.kind == "muon" and kinds["matrix"]:
            self.muon = Muon(
                kinds.pop("matrix"),
                settings.learning_rate,
                settings.momentum,
                settings.weight_decay,
                settings.muon_block,
                settings.iteration_dtype,
            )
        rates = {
            "matrix": settings.learning_rate,
            "up": settings.learning_rate * UP_RATE,
            "embedding": settings.embedding_learning_rate,
            "head": settings.head_learning_rate,
            "norm": settings.norm_learning_rate,
        }
        for kind, parameters in sorted(kinds.items()):
            decay = settings.weight_decay if kind in ("matrix", "up") else 0.0
            groups.append({"params": parameters, "lr": rates[kind], "weight_decay": decay})
        # A tiny epsilon: gradients of a mean loss are small, and rare tokens' are smaller.
        self.adamw = (
            torch.optim.AdamW(groups, betas=settings.betas, eps=1e-10, fused=True)
            if groups
            else None
        )
        self.all: list[torch.optim.Optimizer] = [o for o in (self.muon, self.adamw) if o]
        self._peak_rates = [[group["lr"] for group in o.param_groups] for o in self.all]
        self._momentum = settings.momentum
        for device in {parameter.device for parameter in self.names}:
            if device.type == "cuda":
                self._keep_factors_on(device)
        self._average_decay = settings.average_decay
        self._averages = (
            {parameter: parameter.detach().clone() for parameter in self.names}
            if settings.average_decay
            else {}
        )

    def _keep_factors_on(self, device: torch.device) -> None:
        """Let rates and momentum be numbers on a GPU, where a graph of kernels finds them anew in
        every step."""
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = torch.full((), group["lr"], device=device)
                if optimizer is self.muon:
                    group["momentum"] = torch.full((), group["momentum"], device=device)
                else:
                    group["capturable"] = True
            # The first steps run without a graph, of which the library would warn.
            optimizer._warned_capturable_if_run_uncaptured = True

    def set_factors(self, rate_factor: float, momentum_factor: float) -> None:
        """Of the peak rates and the momentum, for the next updates."""
        for optimizer, rates in zip(self.all, self._peak_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                _set(group, "lr", rate * rate_factor)
                if optimizer is self.muon:
                    _set(group, "momentum", self._momentum * momentum_factor)

    def step(self, rate_factor: float, momentum_factor: float) -> None:
        """Update every parameter with its peak rate times `rate_factor`; drop the gradients."""
        self.set_factors(rate_factor, momentum_factor)
        self.update()

    def update(self, left_out: Tensor | None = None) -> None:
        """As `step`, with the factors that were set.

        Where `left_out`, a number on a GPU that the host does not know, is 1, weights and state
        stay as they are.
        """
        for optimizer in self.all:
            optimizer.found_inf = left_out  # type: ignore[attr-defined]
            optimizer.step()
        self.clear_gradients()
        if self._averages:
            with torch.no_grad():
                averages, weights = list(self._averages.values()), list(self._averages)
                if left_out is not None:
                    pairs = zip(averages, weights, strict=True)
                    weights = [torch.where(left_out > 0, old, new) for old, new in pairs]
                torch._foreach_lerp_(averages, weights, 1 - self._average_decay)

    @torch.no_grad()
    def restart_averages(self) -> None:
        """Let the moving averages begin anew, at the weights as they are."""
        for parameter, average in self._averages.items():
            average.copy_(parameter)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the model has its averaged weights, if there are any."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for parameter, average in self._averages.items():
            parameter.data, average.data = average.data, parameter.data

    def clear_gradients(self) -> None:
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state under 'parameter name/state name'."""
        averages = {f"{self.names[p]}/{AVERAGE}": value for p, value in self._averages.items()}
        return averages | {
            f"{self.names[parameter]}/{key}": value
            for optimizer in self.all
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `state_tensors`."""
        by_name: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            parameter_name, _, key = name.rpartition("/")
            by_name[parameter_name][key] = tensor
        for parameter, average in self._averages.items():
            average.copy_(by_name[self.names[parameter]].pop(AVERAGE))
        for optimizer in self.all:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    state = by_name.get(self.names[parameter], {})
                    optimizer.state[parameter] = {
                        key: value.to(parameter.device, copy=True) for key, value in state.items()
                    }


def _set(group: dict[str, Any], name: str, value: float) -> None:
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def _by_shape(parameters: list[nn.Parameter]) -> dict[torch.Size, list[nn.Parameter]]:
    found: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        found[parameter.shape].append(parameter)
    return found


def _kind(name: str, parameter: nn.Parameter) -> str:
    if name.startswith(("embedding", "values")) or name.endswith("positions.weight"):
        return "embedding"
    if name.startswith("head"):
        return "head"
    if name.endswith("adapter.up"):
        return "up"
    return "matrix" if parameter.ndim == 2 else "norm"
