"""One recurrent layer: h_t from x_t and h_{t-1}, by the equations of nn.RNN, nn.GRU and nn.LSTM.

Notable ideas:
- The products with the inputs, and the gradients of all weights, are one large product each over
  all tokens; only h_{t-1} W' is left in the loop, its weight packed once for the processor, and
  what is pointwise is two small functions that a compiler makes into a few loops. On one busy
  core (CPU time, bf16, two layers of width 384, 16 rows of 256 tokens; eager, compiled and the
  library's layers) that is 7,800, 8,900 and 9,800 tokens/s for an LSTM, 9,400, 10,700 and 7,800
  for a GRU, 23,000, 21,600 and 22,100 for an RNN.
- The backward pass is written by hand (backpropagation through time), so that autograd keeps no
  graph of a thousand small steps.
- Products run in the type of the input; what is carried from step to step stays in fp32.
- LSTM: Hochreiter and Schmidhuber, 1997, with forget gates (Gers et al., 2000). GRU: arXiv
  1406.1078, in the form whose reset gate comes after the product. RNN: Elman, 1990.

Shapes: L length, B rows, D width, G gates x D, S tensors of state (2 of an LSTM: h and c; else 1).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
STATES = {"rnn": 1, "gru": 1, "lstm": 2}


class Advance(nn.Module):
    """The pointwise part of a step forward, of gates from the input and from h. No weights."""

    def __init__(self, family: str):
        super().__init__()
        self.step = {"rnn": _rnn, "gru": _gru, "lstm": _lstm}[family]

    def forward(self, x_BG: Tensor, h_BG: Tensor, carried_BD: Tensor) -> tuple[Tensor, ...]:
        """h (B, D) in the type of `x_BG`, what is carried on, and what the way back needs."""
        return self.step(x_BG, h_BG, carried_BD)


class Retrace(nn.Module):
    """The pointwise part of a step back. No weights."""

    def __init__(self, family: str):
        super().__init__()
        self.step = {"rnn": _rnn_back, "gru": _gru_back, "lstm": _lstm_back}[family]

    def forward(
        self,
        grad_BD: Tensor,
        later_BD: Tensor,
        carried_grad_BD: Tensor,
        kept: Tensor,
        before_BD: Tensor,
        after_BD: Tensor,
    ) -> tuple[Tensor, ...]:
        """Gradients by the gates from the input, by those from h, and by what was carried in.

        `grad_BD` and `later_BD` are those by h, from outside and from the step after;
        `before_BD` and `after_BD` what was carried in and out.
        """
        return self.step(grad_BD, later_BD, carried_grad_BD, kept, before_BD, after_BD)


class Recurrence(nn.Module):
    """A layer. (L, B, inputs) -> (L, B, D)

    `advance` and `retrace` may be shared by layers, so that they are compiled once.
    """

    def __init__(self, family: str, inputs: int, width: int, advance: Advance, retrace: Retrace):
        super().__init__()
        gates = GATES[family]
        self.family, self.width = family, width
        self.input = nn.Linear(inputs, gates * width)
        self.hidden = nn.Linear(width, gates * width, bias=family == "gru")
        self.advance, self.retrace = advance, retrace

    def forward(self, x_LBD: Tensor, state_SBD: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """h of every step, and the state after the last, cut off from its gradients.

        Without `state_SBD` all begin at zero; gradients flow into it where it wants them.
        """
        dtype = x_LBD.dtype
        wide = torch.promote_types(dtype, torch.float32)
        if state_SBD is None:
            state_SBD = torch.zeros(
                STATES[self.family], x_LBD.shape[1], self.width, dtype=wide, device=x_LBD.device
            )
        gates_LBG = F.linear(x_LBD, self.input.weight.to(dtype), self.input.bias.to(dtype))
        y_LBD, carried_BD = _Scan.apply(
            gates_LBG,
            self.hidden.weight,
            self.hidden.bias,
            state_SBD[0].to(dtype),
            state_SBD[-1].to(wide),
            self.advance,
            self.retrace,
        )
        last = [y_LBD[-1].detach().to(wide), carried_BD.detach()]
        return y_LBD, torch.stack(last[-STATES[self.family] :])


class _Scan(torch.autograd.Function):
    """The loop over time."""

    @staticmethod
    def forward(
        ctx: Any,
        gates_LBG: Tensor,
        weight_GD: Tensor,
        bias_G: Tensor | None,
        y_BD: Tensor,
        carried_BD: Tensor,
        advance: Advance,
        retrace: Retrace,
    ) -> tuple[Tensor, Tensor]:
        cast_GD = weight_GD.to(gates_LBG.dtype)
        bias = None if bias_G is None else bias_G.to(gates_LBG.dtype)
        multiply = packed_product(cast_GD, bias)
        outputs, carried, kept = [y_BD], [carried_BD], []
        for x_BG in gates_LBG.unbind():
            y_BD, carried_BD, *keep = advance(x_BG, multiply(y_BD), carried_BD)
            outputs.append(y_BD)
            carried.append(carried_BD)
            kept += keep
        y_LBD = torch.stack(outputs[1:])
        ctx.save_for_backward(cast_GD, outputs[0], y_LBD, *carried, *kept)
        ctx.retrace, ctx.has_bias = retrace, bias_G is not None
        ctx.mark_non_differentiable(carried_BD)
        return y_LBD, carried_BD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_LBD = grads[0]
        cast_GD, first_BD, y_LBD, *rest = ctx.saved_tensors
        length = len(y_LBD)
        carried, kept = rest[: length + 1], rest[length + 1 :]
        multiply = packed_product(cast_GD.t().contiguous(), None)
        later_BD = torch.zeros_like(first_BD)
        carried_grad_BD = torch.zeros_like(carried[0])
        by_input: list[Tensor] = []
        by_hidden: list[Tensor] = []
        for t in reversed(range(length)):
            x_BG, h_BG, carried_grad_BD = ctx.retrace(
                grad_LBD[t],
                later_BD,
                carried_grad_BD,
                kept[t] if kept else carried[t + 1],
                carried[t],
                carried[t + 1],
            )
            later_BD = multiply(h_BG)
            by_input.append(x_BG)
            by_hidden.append(h_BG)
        input_LBG = torch.stack(by_input[::-1])
        hidden_LBG = input_LBG if by_input[0] is by_hidden[0] else torch.stack(by_hidden[::-1])
        before_LBD = torch.cat([first_BD.unsqueeze(0), y_LBD[:-1]])
        weight = (hidden_LBG.flatten(0, 1).t() @ before_LBD.flatten(0, 1)).to(carried[0].dtype)
        bias = hidden_LBG.sum((0, 1), dtype=carried[0].dtype) if ctx.has_bias else None
        return input_LBG, weight, bias, later_BD, carried_grad_BD, None, None


def packed_product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x -> x weight' + bias, the weight packed for the processor where this PyTorch can.

    16 to 64 rows, 384 x 1536, bf16: 1.3 to 1.6 times as fast as a plain product.
    """
    known = weight.dtype in (torch.float32, torch.bfloat16)
    if known and weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            multiply = torch.ops.mkldnn._linear_pointwise.default
            multiply(weight[:1], packed, bias, "none", [], "")
        except (AttributeError, RuntimeError):
            pass  # not in this build of PyTorch
        else:
            return lambda x: multiply(x, packed, bias, "none", [], "")
    return lambda x: F.linear(x, weight, bias)


def _rnn(x_BG: Tensor, h_BG: Tensor, carried_BD: Tensor) -> tuple[Tensor, ...]:
    h_BD = torch.tanh(x_BG.to(carried_BD.dtype) + h_BG)
    return h_BD.to(x_BG.dtype), h_BD


def _rnn_back(
    grad: Tensor, later: Tensor, carried: Tensor, _: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, ...]:
    gates = ((grad + later) * (1 - after * after)).to(later.dtype)
    return gates, gates, torch.zeros_like(carried)


def _gru(x_BG: Tensor, h_BG: Tensor, carried_BD: Tensor) -> tuple[Tensor, ...]:
    x_r, x_z, x_n = x_BG.to(carried_BD.dtype).chunk(3, -1)
    h_r, h_z, h_n = h_BG.chunk(3, -1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    new = torch.tanh(x_n + reset * h_n)
    h_BD = new + update * (carried_BD - new)
    kept = torch.cat([reset, update, new, h_n.to(new.dtype)], -1).to(x_BG.dtype)
    return h_BD.to(x_BG.dtype), h_BD, kept


def _gru_back(
    grad: Tensor, later: Tensor, carried: Tensor, kept: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, ...]:
    reset, update, new, h_n = kept.to(before.dtype).chunk(4, -1)
    by_h = carried + grad + later
    by_new = by_h * (1 - update) * (1 - new * new)
    by_update = by_h * (before - new) * update * (1 - update)
    by_reset = by_new * h_n * reset * (1 - reset)
    by_input = torch.cat([by_reset, by_update, by_new], -1).to(later.dtype)
    by_hidden = torch.cat([by_reset, by_update, by_new * reset], -1).to(later.dtype)
    return by_input, by_hidden, by_h * update


def _lstm(x_BG: Tensor, h_BG: Tensor, carried_BD: Tensor) -> tuple[Tensor, ...]:
    gates = x_BG.to(carried_BD.dtype) + h_BG
    i, f, g, o = gates.chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c_BD = f * carried_BD + i * g
    h_BD = o * torch.tanh(c_BD)
    return h_BD.to(x_BG.dtype), c_BD, torch.cat([i, f, g, o], -1).to(x_BG.dtype)


def _lstm_back(
    grad: Tensor, later: Tensor, carried: Tensor, kept: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, ...]:
    i, f, g, o = kept.to(before.dtype).chunk(4, -1)
    by_h, squashed = grad + later.to(before.dtype), torch.tanh(after)
    by_c = carried + by_h * o * (1 - squashed * squashed)
    gates = torch.cat(
        [
            by_c * g * i * (1 - i),
            by_c * before * f * (1 - f),
            by_c * i * (1 - g * g),
            by_h * squashed * o * (1 - o),
        ],
        -1,
    ).to(later.dtype)
    return gates, gates, by_c * f


@torch.no_grad()
def initialize_layer(layer: Recurrence, generator: torch.Generator) -> None:
    """Draw the weights anew: from inputs with variance 1 / inputs, from h orthogonal gate by gate
    (arXiv 1312.6120); biases zero, but 1 for an LSTM's forget gate (Jozefowicz et al., 2015).
    """
    layer.input.weight.normal_(0, 1 / math.sqrt(layer.input.in_features), generator=generator)
    for gate_DD in layer.hidden.weight.split(layer.width):
        gate_DD.copy_(_orthogonal(layer.width, generator))
    for bias in (layer.input.bias, layer.hidden.bias):
        if bias is not None:
            bias.zero_()
    if layer.family == "lstm":
        layer.input.bias[layer.width : 2 * layer.width] = 1.0


def _orthogonal(width: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(width, width, generator=generator))
    return q * r.diagonal().sign()
