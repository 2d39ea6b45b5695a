"""Matrix products in 8 bits, for the linear layers of a Transformer's blocks on newer GPUs.

Notable ideas:
- Each row of a factor is scaled so that its largest magnitude fills the range, anew each time
  (rowwise dynamic scaling; arXiv 2209.05433 scales whole tensors). The scale of a position needs
  nothing but that position, so a compiler casts in the pass that made it; the largest magnitude of
  a whole tensor would be a pass of its own.
- So finely scaled, e4m3 has range enough for gradients, too.
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
_KIND = torch.float8_e4m3fn
_LARGEST = torch.finfo(_KIND).max


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
        ctx.save_for_backward(x_NI, weight_OI)
        return _product(x_NI, weight_OI)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_NI, weight_OI = ctx.saved_tensors
        grad_NO = grads[0].contiguous()
        by_weight_OI = (grad_NO.t() @ x_NI).to(weight_OI.dtype)
        return _product(grad_NO, weight_OI.t()), by_weight_OI


def _product(a_NK: Tensor, b_MK: Tensor) -> Tensor:
    """a b' in 8 bits, in the type of `a`. (N, K), (M, K) -> (N, M)"""
    a8_NK, a_scale_N1 = _scaled(a_NK)
    b8_MK, b_scale_M1 = _scaled(b_MK)
    return torch._scaled_mm(
        a8_NK,
        b8_MK.contiguous().t(),  # the kernel wants the second factor by columns
        scale_a=a_scale_N1,
        scale_b=b_scale_M1.t(),
        out_dtype=a_NK.dtype,
        use_fast_accum=True,
    )


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` in 8 bits and what each row must be multiplied with to be `x` again, roughly."""
    scale = _LARGEST / x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12)
    # The cast does not stop at the largest number, and rounding may lead beyond it.
    return (x.float() * scale).clamp(-_LARGEST, _LARGEST).to(_KIND), scale.reciprocal()
