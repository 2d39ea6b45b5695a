"""A low-rank change of a frozen matrix, learned in its place.

Notable ideas:
- LoRA (arXiv 2106.09685): W + s B A, where A (R, I) starts random and B (O, R) at zero.
- DoRA (arXiv 2402.09353): the rows of that sum keep their direction only; their length is a
  parameter of its own. The gradient does not go through the length of the sum (its section 4.3),
  which is computed from W A' and A A' without the sum itself.
- The small products read and write what the large one does and cost 6% of it at rank 16; W + s B A
  is never made, where bf16 would round the change away.

Shapes: I inputs, O outputs, R rank.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.quantized import Quantized

LEAST_LENGTH = 1e-6  # of a row: one of zeros has no direction, and could not learn any


class LowRank(nn.Module):
    """What is learned beside one frozen matrix.

    Args:
        weight_OI: the matrix, in fp32.
        down_RI: A, drawn already; layers that one tensor of another library joins share it.
        scale: s.
        dropout: rate on what A reads.
        with_lengths: DoRA.
    """

    squares_O: Tensor  # of the rows' lengths

    def __init__(
        self,
        weight_OI: Tensor,
        down_RI: nn.Parameter,
        *,
        scale: float,
        dropout: float,
        with_lengths: bool,
    ):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.down = down_RI
        self.up = nn.Parameter(torch.zeros(weight_OI.shape[0], down_RI.shape[0]))
        squares_O = weight_OI.detach().float().square().sum(1)
        self.magnitude = nn.Parameter(_length(squares_O)) if with_lengths else None
        self.register_buffer("squares_O", squares_O, persistent=False)

    def forward(self, x: Tensor, weight_OI: Tensor | Quantized, bias_O: Tensor | None) -> Tensor:
        """The whole layer, in the type of `x`. (..., I) -> (..., O)"""
        kind = x.dtype
        bias_O = None if bias_O is None else bias_O.to(kind)
        added = bias_O if self.magnitude is None else None
        if isinstance(weight_OI, Quantized):
            y = weight_OI.product(x, added)
        else:
            y = F.linear(x, weight_OI.to(kind), added)
        read = F.dropout(x, self.dropout) if self.training and self.dropout else x
        y = y + F.linear(F.linear(read, self.down.to(kind)), (self.up * self.scale).to(kind))
        if self.magnitude is None:
            return y
        if isinstance(weight_OI, Quantized):
            weight_OI = weight_OI.restored(kind)
        y = (y * (self.magnitude / self._lengths(weight_OI))).to(kind)
        return y if bias_O is None else y + bias_O

    @torch.no_grad()
    def _lengths(self, weight_OI: Tensor) -> Tensor:
        """Of the rows of W + s B A."""
        up = self.up * self.scale
        across = (F.linear(weight_OI, self.down.to(weight_OI.dtype)).float() * up).sum(1)
        added = ((up @ (self.down @ self.down.t())) * up).sum(1)
        return _length(self.squares_O + 2 * across + added)

    @torch.no_grad()
    def merged(self, weight_OI: Tensor) -> Tensor:
        """The matrix (O, I) that alone does what this and `weight_OI` do, in fp32."""
        summed = weight_OI.float() + self.scale * (self.up @ self.down)
        if self.magnitude is None:
            return summed
        lengths_O = _length(summed.square().sum(1))
        return summed * (self.magnitude / lengths_O).unsqueeze(1)


def _length(squares_O: Tensor) -> Tensor:
    return squares_O.clamp(min=LEAST_LENGTH**2).sqrt()
