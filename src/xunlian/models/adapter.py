"""Adapters in a network: put in beside frozen matrices, trained alone, merged into the weights.

Shapes: I inputs, R rank.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from xunlian.models.layers import Linear
from xunlian.models.low_rank import LowRank
from xunlian.models.quantized import Kind, Quantized


@torch.no_grad()
def quantize_blocks(blocks: Iterable[nn.Module], kind: Kind) -> None:
    """Keep the matrices of all linear layers of `blocks` in few bits alone, one after the other.

    Raises:
        ImportError: nf4 without bitsandbytes.
    """
    for block in blocks:
        for layer in block.modules():
            if isinstance(layer, Linear):
                layer.quantized = Quantized(layer.weight, kind)
                layer.weight = None  # type: ignore[assignment]


def add_adapters(
    model: nn.Module,
    groups: Sequence[Sequence[str]],
    *,
    rank: int,
    scale: float,
    dropout: float,
    with_lengths: bool,
    generator: torch.Generator,
) -> None:
    """Give each named linear layer an adapter that changes nothing yet.

    Layers of one group read the same and share their first matrix. `with_lengths`: DoRA.
    """
    for names in groups:
        layers = [model.get_submodule(name) for name in names]
        inputs = int(layers[0].in_features)  # type: ignore[arg-type]
        bound = 1 / math.sqrt(inputs)
        drawn_RI = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
        down = nn.Parameter(drawn_RI)
        for layer in layers:
            assert isinstance(layer, Linear)
            layer.adapter = LowRank(
                layer.matrix(), down, scale=scale, dropout=dropout, with_lengths=with_lengths
            )


def freeze_base(model: nn.Module, dtype: torch.dtype) -> None:
    """Let only adapters learn. Matrices are kept in `dtype` alone; norms and biases in fp32."""
    for name, parameter in model.named_parameters():
        if ".adapter." not in name:
            parameter.requires_grad_(False)
            if parameter.ndim == 2 and parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
    model.get_submodule("embedding").register_forward_hook(_with_gradient)


def _with_gradient(_module: nn.Module, _inputs: object, x: Tensor) -> Tensor:
    """The first block's input gets a gradient, too, which nobody needs: all blocks are then alike
    and share one compiled code, for 1% of a step."""
    return x.requires_grad_() if torch.is_grad_enabled() else x


def adapted_layers(model: nn.Module) -> dict[str, LowRank]:
    """Name of a linear layer -> its adapter; empty for a network that learns as a whole."""
    return {
        name: layer.adapter
        for name, layer in model.named_modules()
        if isinstance(layer, Linear) and layer.adapter is not None
    }


def merge_adapters(model: nn.Module) -> None:
    """Write every adapter into the weights of its layer and take it out."""
    for name, adapter in adapted_layers(model).items():
        layer = model.get_submodule(name)
        assert isinstance(layer, Linear)
        layer.weight.data = adapter.merged(layer.weight)
        layer.adapter = None


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name: those of the adapters, or all; then with what else the
    network's files hold, such as a fixed bias of the logits."""
    found = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    if not adapted_layers(model):
        kept = model.state_dict().keys()
        found |= {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return found


@torch.no_grad()
def load_trained(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """The reverse of `trained_weights`."""
    own = trained_weights(model)
    assert own.keys() == weights.keys()
    for name, tensor in own.items():
        tensor.copy_(weights[name])
