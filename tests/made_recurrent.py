"""Small recurrent networks made by hand, and the same mathematics one cell at a time."""

import torch
from torch import nn

from xunlian.models import recurrent, recurrent_pairs
from xunlian.models.recurrence import GATES
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel

FAMILIES = ["rnn", "gru", "lstm"]
START, END, VOCABULARY = 0, 1, 41


def randomized(family, pairs=False, seed=7, width=24, depth=2, tied=True):
    """A network whose every weight, norms and biases too, has a value that matters."""
    config = RecurrentConfig(
        family, VOCABULARY, depth, width, 16, tied, decoder_depth=depth if pairs else None
    )
    model = (RecurrentPairModel if pairs else RecurrentModel)(config)
    generator = torch.Generator().manual_seed(seed)
    (recurrent_pairs if pairs else recurrent).initialize(model, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def cell_of(layer):
    """The library's cell with the weights of `layer`, in float64."""
    kind = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[layer.family]
    cell = kind(layer.input.in_features, layer.width).double()
    with torch.no_grad():
        cell.weight_ih.copy_(layer.input.weight)
        cell.weight_hh.copy_(layer.hidden.weight)
        cell.bias_ih.copy_(layer.input.bias)
        cell.bias_hh.copy_(
            layer.hidden.bias
            if layer.hidden.bias is not None
            else torch.zeros(GATES[layer.family] * layer.width)
        )
    return cell


class SlowModel:
    """A language model, token by token, in float64. `state` is what each layer carries."""

    def __init__(self, model):
        self.model = model
        self.cells = [cell_of(layer.recurrence) for layer in model.layers]
        self.embedding = model.embedding.weight.detach().double().requires_grad_()
        self.state = None

    def norm(self, norm, x):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.epsilon)
        return x * scale * norm.weight.detach().double()

    def logits(self, tokens_BL):
        """(B, L, V), going on from `state`."""
        config, found = self.model.config, []
        if self.state is None:
            zero = torch.zeros(len(tokens_BL), config.width, dtype=torch.double)
            both = (zero, zero) if config.family == "lstm" else zero
            self.state = [both] * config.depth
        for tokens_B in tokens_BL.unbind(1):
            x = self.embedding[tokens_B]
            for number, (layer, cell) in enumerate(zip(self.model.layers, self.cells, strict=True)):
                self.state[number] = cell(self.norm(layer.norm, x), self.state[number])
                new = self.state[number]
                x = x + (new[0] if config.family == "lstm" else new)
            found.append(self.norm(self.model.norm, x) @ self.embedding.t())
        return torch.stack(found, 1)

    def cut(self):
        """No gradient goes back over the state."""
        self.state = [
            tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            for state in self.state
        ]
