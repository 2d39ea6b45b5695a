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

    def weights(self, dtype: torch.dtype, gain: Tensor | None = None) -> list[Tensor]:
        """As `scan` takes them, side by side in memory, where cuDNN wants them. `gain` is that of
        the inputs.
        """
        by_input = self.input.weight if gain is None else self.input.weight * gain
        bias = self.input.bias
        other = torch.zeros_like(bias) if self.hidden.bias is None else self.hidden.bias
        parts = [by_input, self.hidden.weight, bias, other]
        joined = torch.cat([part.flatten() for part in parts]).to(dtype)
        pieces = joined.split([part.numel() for part in parts])
        return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]

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
    """The library's loop over time, in the type of `x_LBD` and the weights.

    Returns h of every step and the state after the last, this in fp32 at least.
    """
    start = state_SBD.to(x_LBD.dtype).split(1)
    learns = torch.is_grad_enabled()  # cuDNN keeps what going back needs only when told so
    options = True, 1, 0.0, learns, False, False  # biases, layers, dropout, train, both ways, rows
    if family == "lstm" and len(x_LBD) == 1:
        # The fused layer packs its weights at every call: 1.4 to 5 times the time of a cell.
        h_BD, c_BD = torch.lstm_cell(x_LBD[0], [state_BD[0] for state_BD in start], *weights)
        y_LBD, *after = h_BD[None], h_BD[None], c_BD[None]
    elif family == "lstm":
        y_LBD, *after = torch.lstm(x_LBD, start, weights, *options)
    else:
        kernel = torch.gru if family == "gru" else torch.rnn_tanh
        y_LBD, *after = kernel(x_LBD, start[0], weights, *options)
    return y_LBD, torch.cat(after).to(torch.promote_types(x_LBD.dtype, torch.float32))


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
