"""Frozen matrices in 8 or 4 bits, and products with them.

Notable ideas:
- int8: every row is scaled so that its largest weight is 127, as LLM.int8() does it (arXiv
  2208.07339). Inputs are not quantized: memory is what is saved here.
- nf4: every block of 64 weights is scaled to [-1, 1] and rounded to quantiles of the normal
  distribution; the scales are in 8 bits, too (QLoRA, arXiv 2305.14314). bitsandbytes packs and
  unpacks it, by kernels of its own for CPUs and GPUs.
- A matrix is restored for one product at a time, and again on the way back. A compiler sees whole
  operators: it would find that both restore the same, and keep it in between.

Shapes: I inputs, O outputs.
"""

import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["int8", "nf4"]

_BLOCK = 64  # weights of one scale, and scales of one scale of theirs, as QLoRA has them
_BLOCK_OF_SCALES = 256


class Quantized(nn.Module):
    """A matrix that does not learn, in few bits alone.

    Args:
        weight_OI: the matrix, in fp32 on the CPU, so that every device gets the same bits.
        kind: nf4 needs bitsandbytes.

    Raises:
        ImportError: it is not installed.
    """

    def __init__(self, weight_OI: Tensor, kind: Kind):
        super().__init__()
        self.kind, self.shape = kind, tuple(weight_OI.shape)
        parts = (_to_int8 if kind == "int8" else _to_nf4)(weight_OI)
        # Parameters, not buffers: those DDP would send around in every step.
        self.parts = nn.ParameterList(nn.Parameter(part, requires_grad=False) for part in parts)

    def restored(self, dtype: torch.dtype) -> Tensor:
        """The matrix (O, I) as products see it."""
        matrix_OI: Tensor = _restored(list(self.parts), self.kind, self.shape, dtype)
        return matrix_OI

    def product(self, x: Tensor, bias_O: Tensor | None) -> Tensor:
        """As `F.linear`, in the type of `x`. (..., I) -> (..., O)"""
        y: Tensor = _product(x, list(self.parts), self.kind, self.shape)
        return y if bias_O is None else y + bias_O.to(x.dtype)


def _to_int8(weight_OI: Tensor) -> tuple[Tensor, ...]:
    largest_O = weight_OI.abs().amax(1).clamp(min=1e-30)  # a row may be zero
    return (weight_OI * (127 / largest_O).unsqueeze(1)).round().to(torch.int8), largest_O / 127


def _from_int8(packed_OI: Tensor, scale_O: Tensor, dtype: torch.dtype) -> Tensor:
    return packed_OI.to(dtype).mul_(scale_O.unsqueeze(1))  # multiplied in fp32, rounded once


def _to_nf4(weight_OI: Tensor) -> tuple[Tensor, ...]:
    packed, state = _library().quantize_4bit(
        weight_OI, blocksize=_BLOCK, compress_statistics=True, quant_type="nf4"
    )
    return packed, state.absmax, state.offset, state.state2.absmax, state.state2.code


def _from_nf4(parts: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    library = _library()
    packed, scales, offset, scales_of_scales, code = parts
    inner = library.QuantState(
        scales_of_scales, code=code, blocksize=_BLOCK_OF_SCALES, dtype=torch.float32
    )
    state = library.QuantState(
        scales,
        shape=torch.Size(shape),
        blocksize=_BLOCK,
        quant_type="nf4",
        dtype=dtype,
        offset=offset,
        state2=inner,
    )
    restored: Tensor = library.dequantize_4bit(packed, state)
    return restored


def _matrix(parts: Sequence[Tensor], kind: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    if kind == "int8":
        return _from_int8(parts[0], parts[1], dtype)
    return _from_nf4(parts, shape, dtype)


@torch.library.custom_op("xunlian::quantized_matrix", mutates_args=())
def _restored(
    parts: Sequence[Tensor], kind: str, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    return _matrix(parts, kind, shape, dtype)


@torch.library.custom_op("xunlian::quantized_product", mutates_args=())
def _product(x: Tensor, parts: Sequence[Tensor], kind: str, shape: Sequence[int]) -> Tensor:
    return F.linear(x, _matrix(parts, kind, shape, x.dtype))


@torch.library.custom_op("xunlian::quantized_product_back", mutates_args=())
def _product_back(y: Tensor, parts: Sequence[Tensor], kind: str, shape: Sequence[int]) -> Tensor:
    return y @ _matrix(parts, kind, shape, y.dtype)


@_restored.register_fake
def _(parts: Sequence[Tensor], kind: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return parts[0].new_empty(tuple(shape), dtype=dtype)


@_product.register_fake
def _(x: Tensor, parts: Sequence[Tensor], kind: str, shape: Sequence[int]) -> Tensor:
    return x.new_empty(*x.shape[:-1], shape[0])


@_product_back.register_fake
def _(y: Tensor, parts: Sequence[Tensor], kind: str, shape: Sequence[int]) -> Tensor:
    return y.new_empty(*y.shape[:-1], shape[1])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, parts, ctx.kind, ctx.shape = inputs
    ctx.save_for_backward(*parts)


def _gradients(ctx: Any, y: Tensor) -> tuple[Any, ...]:
    parts = ctx.saved_tensors
    return _product_back(y, parts, ctx.kind, ctx.shape), [None] * len(parts), None, None


_product.register_autograd(_gradients, setup_context=_remember)


@cache
def _library() -> Any:
    """bitsandbytes.functional.

    On some CPUs bitsandbytes would fetch another kernel from the network while it is imported, by
    a package `kernels`; without that package it warns. Training needs no such kernel.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    known = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        from bitsandbytes import functional
    finally:
        del sys.modules["kernels"]
        if known is not None:
            sys.modules["kernels"] = known
    return functional
