"""One recurrent layer: h_t from x_t and h_{t-1}, by the kernels of nn.RNN, nn.GRU and nn.LSTM.

Notable ideas:
- The library's functions are called, not its modules, for the weights are fp32 and follow the type
  of the input, as everywhere here (layers.py).
- Of the two biases that the library adds together, only the one of the inputs is ours; a GRU has
  both, for its reset gate comes between them.
- LSTM: Hochreiter and Schmidhuber, 1997, with forget gates (Gers et al., 2000). GRU: arXiv
  1406.1078, in the form whose reset gate comes after the product. RNN: Elman, 1990.

Shapes: L length, B rows, D width, G gates x D, S tensors of state (2 of an LSTM: h and c; else 1).
"""

import math

import torch
from torch import Tensor, nn

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
STATES = {"rnn": 1, "gru": 1, "lstm": 2}


class Recurrence(nn.Module):
    """A layer. (L, B, inputs) -> (L, B, D)"""

    def __init__(self, family: str, inputs: int, width: int):
        super().__init__()
        gates = GATES[family]
        self.family, self.width = family, width
        self.input = nn.Linear(inputs, gates * width)
        self.hidden = nn.Linear(width, gates * width, bias=family == "gru")

    def weights(self, dtype: torch.dtype) -> list[Tensor]:
        """As `scan` takes them."""
        bias = self.input.bias if self.hidden.bias is None else self.hidden.bias
        both = [self.input.bias, torch.zeros_like(bias) if self.hidden.bias is None else bias]
        return [w.to(dtype) for w in (self.input.weight, self.hidden.weight, *both)]

    def forward(self, x_LBD: Tensor, state_SBD: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """h of every step, and the state after the last, cut off from its gradients.

        Without `state_SBD` all begin at zero; gradients flow into it where it wants them.
        """
        if state_SBD is None:
            shape = STATES[self.family], x_LBD.shape[1], self.width
            state_SBD = torch.zeros(shape, dtype=x_LBD.dtype, device=x_LBD.device)
        y_LBD, state_SBD = scan(self.family, x_LBD, state_SBD, self.weights(x_LBD.dtype))
        return y_LBD, state_SBD.detach()


def scan(
    family: str, x_LBD: Tensor, state_SBD: Tensor, weights: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The library's loop over time, in the type of `x_LBD` and the weights. The state that comes
    out is of at least fp32.
    """
    start = list(state_SBD.to(x_LBD.dtype).split(1))
    options = True, 1, 0.0, False, False, False  # biases, layers, dropout, train, both ways, rows
    if family == "lstm" and len(x_LBD) == 1:
        # The fused layer packs its weights at every call: 1.5 to 5 times the time for one token.
        states = list(torch.lstm_cell(x_LBD[0], [s[0] for s in start], *weights))
        y_LBD, states = states[0][None], [s[None] for s in states]
    elif family == "lstm":
        y_LBD, h, c = torch.lstm(x_LBD, start, weights, *options)
        states = [h, c]
    else:
        kernel = torch.gru if family == "gru" else torch.rnn_tanh
        y_LBD, h = kernel(x_LBD, start[0], weights, *options)
        states = [h]
    return y_LBD, torch.cat(states).to(torch.promote_types(x_LBD.dtype, torch.float32))


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
