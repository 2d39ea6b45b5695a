"""Matrix products in 8 bits, for the linear layers of a Transformer's blocks on newer GPUs.

Notable ideas:
- Both factors of a product are scaled so that the largest magnitude of a whole tensor fills the
  range, anew each time (tensorwise dynamic scaling; arXiv 2209.05433). Rows of a scale each would
  be finer, and slower.
- e4m3 for inputs and weights, which need digits; e5m2 for gradients, which need range.
- The gradient of the weight is a sum over all positions and stays in the type of the input: two
  of the three products are in 8 bits.

Shapes: N positions, I inputs, O outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.layers import Linear

MULTIPLE = 16  # the kernels want inputs and outputs in multiples of it
_FORWARD, _BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2


def use_fp8(blocks: nn.ModuleList | list[nn.Module]) -> None:
    """Let all linear layers of `blocks` multiply in 8 bits while they learn."""
    for block in blocks:
        for layer in block.modules():
            if isinstance(layer, Linear):
                layer.product = fp8_linear


def fp8_linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """As `F.linear` of `x` (..., I), bf16. Without gradients it is in bf16 itself: a network is
    validated as it will be used.
    """
    bias_O = None if bias_O is None else bias_O.to(x.dtype)
    if not torch.is_grad_enabled():
        return F.linear(x, weight_OI.to(x.dtype), bias_O)
    y_NO: Tensor = _Product.apply(x.flatten(0, -2), weight_OI)
    y = y_NO.unflatten(0, x.shape[:-1])
    return y if bias_O is None else y + bias_O


class _Product(torch.autograd.Function):
    """x w' with its gradients. (N, I), (O, I) -> (N, O)"""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        x8_NI, x_scale = _scaled(x_NI, _FORWARD)
        weight8_OI, weight_scale = _scaled(weight_OI, _FORWARD)
        ctx.weight_type = weight_OI.dtype
        ctx.save_for_backward(x_NI, weight8_OI, weight_scale)
        return torch._scaled_mm(
            x8_NI,
            weight8_OI.t(),
            scale_a=x_scale,
            scale_b=weight_scale,
            out_dtype=x_NI.dtype,
            use_fast_accum=True,
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_NI, weight8_OI, weight_scale = ctx.saved_tensors
        grad_NO = grads[0].contiguous()
        grad8_NO, grad_scale = _scaled(grad_NO, _BACKWARD)
        by_x_NI = torch._scaled_mm(
            grad8_NO,
            weight8_OI.t().contiguous().t(),  # the kernel wants the second factor by columns
            scale_a=grad_scale,
            scale_b=weight_scale,
            out_dtype=x_NI.dtype,
        )
        return by_x_NI, (grad_NO.t() @ x_NI).to(ctx.weight_type)


def _scaled(x: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """`x` in 8 bits and what it must be multiplied with to be `x` again, roughly."""
    largest = torch.finfo(kind).max
    scale = largest / x.abs().amax().float().clamp(min=1e-12)
    # The cast does not stop at the largest number, and rounding may lead beyond it.
    return (x.float() * scale).clamp(-largest, largest).to(kind), scale.reciprocal()
