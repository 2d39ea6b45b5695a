"""The parts that every network here is built from.

Notable ideas:
- Weights are fp32; a layer casts them to the type of its input, so the *activations* carry the
  compute precision, and a compiler fuses the casts. No autocast, no second copy of the weights.
- RMSNorm (arXiv 1910.07467), rotary positions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202).

Shapes: B batch, L length, D model width, H heads, K width of a head, F feed-forward width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.low_rank import LowRank
from xunlian.models.quantized import Quantized


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` in the type of `x`."""
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class Linear(nn.Linear):
    """`nn.Linear` whose weights follow the type of the input. (..., in) -> (..., out)

    `product` may be replaced by another form of itself (fp8.py); an `adapter` takes its place.
    Where a layer is `quantized`, `weight` is None.
    """

    product: Callable[[Tensor, Tensor, Tensor | None], Tensor] = staticmethod(linear)

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, bias=bias)
        self.adapter: LowRank | None = None
        self.quantized: Quantized | None = None

    @property
    def frozen(self) -> bool:
        """Whether the matrix does not learn."""
        return self.quantized is not None or not self.weight.requires_grad

    def matrix(self) -> Tensor:
        """What the input is multiplied with, in fp32, without an adapter. (out, in)"""
        return self.weight if self.quantized is None else self.quantized.restored(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        if self.adapter is not None:
            return self.adapter(x, self.quantized or self.weight, self.bias)
        if self.quantized is not None:
            return self.quantized.product(x, self.bias)
        return self.product(x, self.weight, self.bias)


def joined_linear(x: Tensor, layers: list[Linear], norm: nn.Module | None) -> tuple[Tensor, ...]:
    """`norm`, then several layers of the same input: the output of each.

    On a CPU they are one matrix product, whose weights are joined while they are cast, which costs
    nothing more than the cast. On a GPU each product fills the device alone, and to join their
    gradients would cost a pass over them. Gain and bias of the norm are multiplied into the
    weights: their gradients are then sums over a matrix instead of slow reductions over all
    positions. Frozen weights are cast already and want no gradients: they are taken as they are,
    so that there is no second copy of them.
    """
    if layers[0].frozen or any(layer.adapter is not None for layer in layers):
        x = x if norm is None else norm(x)
        return tuple(layer(x) for layer in layers)
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Any] = [layer.bias for layer in layers]
    if not x.is_cuda:
        weights = [torch.cat(weights)]
        biases = [None if biases[0] is None else torch.cat(biases)]
    if isinstance(norm, RMSNorm):
        x, weights = norm.without_gain(x), [weight * norm.weight for weight in weights]
    elif isinstance(norm, LayerNorm) and layers[0].bias is not None:
        biases = [bias + w @ norm.bias for bias, w in zip(biases, weights, strict=True)]
        x, weights = norm.without_gain(x), [weight * norm.weight for weight in weights]
    elif norm is not None:
        x = norm(x)
    product = layers[0].product
    outputs = [product(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    if x.is_cuda:
        return tuple(outputs)
    return outputs[0].split([layer.out_features for layer in layers], dim=-1)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in fp32."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return (self._normed(x) * self.weight).to(x.dtype)

    def without_gain(self, x: Tensor) -> Tensor:
        return self._normed(x).to(x.dtype)

    def _normed(self, x: Tensor) -> Tensor:
        wide = x.float()
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` computed in fp32 whatever the type of the input."""

    def forward(self, x: Tensor) -> Tensor:
        wide = F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return wide.to(x.dtype)

    def without_gain(self, x: Tensor) -> Tensor:
        """Without bias, too."""
        return F.layer_norm(x.float(), self.normalized_shape, eps=self.eps).to(x.dtype)


class HeadNorm(RMSNorm):
    """RMSNorm over the width of a head, whose gain is spread over positions first.

    The gain's gradient is then summed over rows and heads position by position, in parallel,
    instead of in one long column sum: 5% of a training step on a CPU.
    """

    def forward(self, x_BLHK: Tensor) -> Tensor:
        gain_L1K = self.weight.expand(x_BLHK.shape[1], 1, -1)
        return (self._normed(x_BLHK) * gain_L1K).to(x_BLHK.dtype)


def make_norm(kind: str, width: int, epsilon: float) -> nn.Module:
    """`kind` is 'rms' or 'layer'."""
    return RMSNorm(width, epsilon) if kind == "rms" else LayerNorm(width, eps=epsilon)


class SwiGLU(nn.Module):
    """silu(y gate) * (y up), projected back, where y = norm(x). (B, L, D) -> (B, L, D)"""

    def __init__(self, width: int, mlp_width: int, bias: bool):
        super().__init__()
        self.gate = Linear(width, mlp_width, bias=bias)
        self.up = Linear(width, mlp_width, bias=bias)
        self.output = Linear(mlp_width, width, bias=bias)

    def forward(self, x_BLD: Tensor, norm: nn.Module) -> Tensor:
        gate_BLF, up_BLF = joined_linear(x_BLD, [self.gate, self.up], norm)
        wide_BLF = gate_BLF.float()
        # silu(gate), spelled so that a compiler computes one exponential, not two, going back.
        hidden_BLF = wide_BLF * torch.sigmoid(wide_BLF) * up_BLF
        return self.output(hidden_BLF.to(x_BLD.dtype))


class GELUMLP(nn.Module):
    """gelu(norm(x) up), projected back, in the tanh form of GPT-2. (B, L, D) -> (B, L, D)"""

    def __init__(self, width: int, mlp_width: int, bias: bool):
        super().__init__()
        self.up = Linear(width, mlp_width, bias=bias)
        self.output = Linear(mlp_width, width, bias=bias)

    def forward(self, x_BLD: Tensor, norm: nn.Module) -> Tensor:
        return self.output(F.gelu(self.up(norm(x_BLD)), approximate="tanh"))


class MLP(nn.Module):
    """activation(norm(x) up), projected back. (B, L, D) -> (B, L, D)"""

    def __init__(self, width: int, mlp_width: int, activation: str):
        super().__init__()
        self.activation = activation
        self.up = Linear(width, mlp_width)
        self.output = Linear(mlp_width, width)

    def forward(self, x_BLD: Tensor, norm: nn.Module | None) -> Tensor:
        (up_BLF,) = joined_linear(x_BLD, [self.up], norm)
        hidden_BLF: Tensor = (
            _ReLU.apply(up_BLF)
            if self.activation == "relu"
            else OTHER_ACTIVATIONS[self.activation](up_BLF)
        )
        return self.output(hidden_BLF)


OTHER_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"swish": F.silu, "gelu": F.gelu}


class _ReLU(torch.autograd.Function):
    """relu(x), with the sign of its result as gradient.

    The library's keeps a mask of booleans, which a compiler cannot vectorize on a CPU: a seventh of
    a training step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = F.relu(x)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return grads[0] * result.sign()


@dataclass(frozen=True)
class RopeScaling:
    """How rotary angles are slowed down for contexts longer than those first trained on.

    linear: all by `factor` (arXiv 2306.15595). llama3: those that turn less than `low_turns` times
    in `original_context` by `factor`, those that turn more than `high_turns` times not at all, and
    in between by something in between (Llama 3.1, arXiv 2407.21783).
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_turns: float = 1.0
    high_turns: float = 4.0
    original_context: int = 8192

    def slowed(self, frequencies_K: Tensor) -> Tensor:
        """The angles, in radians, by which each pair turns from one position to the next."""
        if self.kind == "linear":
            return frequencies_K / self.factor
        turns_K = self.original_context * frequencies_K / (2 * math.pi)
        kept_K = ((turns_K - self.low_turns) / (self.high_turns - self.low_turns)).clamp(0, 1)
        return frequencies_K * (kept_K + (1 - kept_K) / self.factor)


def rotary_frequencies(head_width: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """The angles, in radians, by which each pair turns from one position to the next, fp32
    (head_width / 2)."""
    half = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = theta**-half
    return frequencies if scaling is None else scaling.slowed(frequencies)


def rotary_table(
    context: int, head_width: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, fp32, each (context, head_width / 2)."""
    return angle_table(context, rotary_frequencies(head_width, theta, scaling))


def angle_table(context: int, frequencies_K: Tensor) -> tuple[Tensor, Tensor]:
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies_K)
    return angles.cos(), angles.sin()


def rotate(x_BLHK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    """Turn each pair (k, k + K/2) of a head by its position's angle, in fp32.

    `cos_LK` and `sin_LK` are (L, K/2), or (B, L, K/2) where every row has positions of its own.
    """
    # The halves swap places by a flip, not by a concatenation, which a compiler cannot vectorize.
    wide = x_BLHK.float().unflatten(-1, (2, -1))
    cos, sin = cos_LK[..., None, None, :], sin_LK[..., None, None, :]
    sign = torch.arange(-1, 2, 2, device=wide.device).unsqueeze(-1)
    turned = (wide * cos + wide.flip(-2) * (sin * sign)).flatten(-2)
    return turned.to(x_BLHK.dtype)
