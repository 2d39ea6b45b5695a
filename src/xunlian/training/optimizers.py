"""Muon for the matrices, AdamW for everything else, as one optimizer.

Notable ideas:
- AdamW (arXiv 1711.05101) through the library's fused kernel.
- The second matrix of an adapter, which starts at zero, learns faster under AdamW than the first
  (LoRA+, arXiv 2402.12354).
- Groups carry their own peak rates; the schedule scales them all by one factor.
- An exponential moving average of the weights (arXiv 1803.05407 and before), on demand, is what is
  validated and kept.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xunlian.training.muon import Muon

UP_RATE = 8.0  # of an adapter's second matrix, in the rate of the first
AVERAGE = "average"  # the name of the averaged weights in a saved state


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


def _kind(name: str, parameter: nn.Parameter) -> str:
    if name.startswith(("embedding", "values")) or name.endswith("positions.weight"):
        return "embedding"
    if name.startswith("head"):
        return "head"
    if name.endswith("adapter.up"):
        return "up"
    return "matrix" if parameter.ndim == 2 else "norm"
