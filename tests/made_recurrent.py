"""Small recurrent networks made by hand, and the same mathematics one token at a time."""

import torch
from torch.nn import functional as F

from xunlian.models import recurrent, recurrent_pairs
from xunlian.models.recurrence import GATES, STATES
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


def by_the_equations(layer):
    """(x (L, B, inputs), state (S, B, D)) -> (h of every step, state): `layer` in float64, token
    by token, each gate as its paper writes it."""

    def run(x_LBD, state_SBD):
        h, c, outputs = state_SBD[0], state_SBD[-1], []
        for x_BD in x_LBD:
            h, c = _cell(layer, x_BD, h, c)
            outputs.append(h)
        return torch.stack(outputs), torch.stack([h, c][: len(state_SBD)])

    return run


def _cell(layer, x, h, c):
    gates = GATES[layer.family]
    from_x = F.linear(x, layer.input.weight.double(), layer.input.bias.double()).chunk(gates, -1)
    bias = None if layer.hidden.bias is None else layer.hidden.bias.double()
    from_h = F.linear(h, layer.hidden.weight.double(), bias).chunk(gates, -1)
    if layer.family == "gru":
        reset, update = (torch.sigmoid(from_x[n] + from_h[n]) for n in (0, 1))
        new = torch.tanh(from_x[2] + reset * from_h[2])
        return (1 - update) * new + update * h, c
    sums = [a + b for a, b in zip(from_x, from_h, strict=True)]
    if layer.family == "rnn":
        return torch.tanh(sums[0]), c
    let_in, keep, show = (torch.sigmoid(sums[n]) for n in (0, 1, 3))
    c = keep * c + let_in * torch.tanh(sums[2])
    return show * torch.tanh(c), c


class SlowModel:
    """A language model, token by token, in float64. `state` is what each layer carries."""

    def __init__(self, model):
        self.model = model
        self.layers = [by_the_equations(layer.recurrence) for layer in model.layers]
        self.embedding = model.embedding.weight.detach().double().requires_grad_()
        self.state = None

    def norm(self, norm, x):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.epsilon)
        return x * scale * norm.weight.detach().double()

    def logits(self, tokens_BL):
        """(B, L, V), going on from `state`."""
        config, found = self.model.config, []
        if self.state is None:
            shape = STATES[config.family], len(tokens_BL), config.width
            self.state = [torch.zeros(shape, dtype=torch.double)] * config.depth
        for tokens_B in tokens_BL.unbind(1):
            x = self.embedding[tokens_B]
            for number, (layer, run) in enumerate(zip(self.model.layers, self.layers, strict=True)):
                y, self.state[number] = run(self.norm(layer.norm, x)[None], self.state[number])
                x = x + y[0]
            found.append(self.norm(self.model.norm, x) @ self.embedding.t())
        return torch.stack(found, 1)

    def cut(self):
        """No gradient goes back over the state."""
        self.state = [state.detach() for state in self.state]
