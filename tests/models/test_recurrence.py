"""A recurrent layer keeps to its equations, forward and back, and begins as its papers say."""

import pytest
import torch
from made_recurrent import FAMILIES, by_the_equations

from xunlian.models.recurrence import GATES, STATES, Recurrence, initialize_layer

LENGTH, ROWS, INPUTS, WIDTH = 40, 3, 5, 6


def layer_of(family, inputs=INPUTS, width=WIDTH):
    """With biases that matter."""
    layer = Recurrence(family, inputs, width)
    generator = torch.Generator().manual_seed(1)
    initialize_layer(layer, generator)
    with torch.no_grad():
        for bias in (layer.input.bias, layer.hidden.bias):
            if bias is not None:
                bias.normal_(generator=generator)
    return layer


def some(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.double, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
def test_outputs_states_and_all_gradients_follow_the_equations(family, length, dtype, tolerance):
    """On a CPU each type has kernels of its own, and so has an LSTM's single token."""
    layer, x = layer_of(family), some(length, ROWS, INPUTS)
    start, weights = some(STATES[family], ROWS, WIDTH), some(length, ROWS, WIDTH)
    if dtype == torch.double:
        layer = layer.double()
    results = []
    for run, kind in ((layer, dtype), (by_the_equations(layer), torch.double)):
        inputs = [a.to(kind, copy=True).requires_grad_() for a in (x, start)]
        layer.zero_grad()
        y, last = run(*inputs)
        assert y.dtype == kind
        (y.double() * weights).sum().backward()
        results.append(
            [y, last, *(i.grad for i in inputs), *(p.grad.clone() for p in layer.parameters())]
        )
    for found, right in zip(*results, strict=True):
        assert (found - right).norm() <= tolerance * right.norm()


@pytest.mark.parametrize(
    ("family", "kernel"), [("rnn", "rnn_tanh"), ("gru", "gru"), ("lstm", "lstm")]
)
def test_the_library_is_told_when_gradients_are_wanted(family, kernel, monkeypatch):
    """cuDNN keeps what they need only then, and fails without it."""
    told, library = [], getattr(torch, kernel)

    def spy(*arguments):
        told.append(arguments[-3])
        return library(*arguments)

    monkeypatch.setattr(torch, kernel, spy)
    layer = layer_of(family)
    layer(some(4, ROWS, INPUTS))
    with torch.no_grad():
        layer(some(4, ROWS, INPUTS))
    assert told == [True, False]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", [3, LENGTH - 1])
def test_a_text_in_two_pieces_is_the_text(family, cut):
    layer, x = layer_of(family), some(LENGTH, ROWS, INPUTS)
    whole, last = layer(x)
    first, state = layer(x[:cut])
    second, end = layer(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)
    assert not end.requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_recurrent_matrices_begin_orthogonal_and_an_lstm_remembers(family):
    layer = Recurrence(family, 8, 16)
    initialize_layer(layer, torch.Generator().manual_seed(1))
    for gate in layer.hidden.weight.detach().split(16):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(16), atol=1e-5, rtol=0)
    wanted = torch.zeros(GATES[family] * 16)
    if family == "lstm":
        wanted[16:32] = 1
    assert torch.equal(layer.input.bias.detach(), wanted)
    assert layer.hidden.bias is None or not layer.hidden.bias.any()
