"""A recurrent layer equals the library's, forward and back, and begins as its papers say."""

import pytest
import torch
from made_recurrent import FAMILIES
from torch import nn

from xunlian.models.recurrence import (
    GATES,
    STATES,
    Advance,
    Recurrence,
    Retrace,
    initialize_layer,
)

LENGTH, ROWS, INPUTS, WIDTH = 7, 3, 5, 6


def layer_of(family, inputs=INPUTS, width=WIDTH, seed=1):
    layer = Recurrence(family, inputs, width, Advance(family), Retrace(family))
    initialize_layer(layer, torch.Generator().manual_seed(seed))
    return layer


def in_the_library(layer):
    """nn.RNN, nn.GRU or nn.LSTM of one layer with the same weights."""
    library = getattr(nn, layer.family.upper())(layer.input.in_features, layer.width)
    library = library.to(layer.input.weight.dtype)
    with torch.no_grad():
        library.weight_ih_l0.copy_(layer.input.weight)
        library.weight_hh_l0.copy_(layer.hidden.weight)
        library.bias_ih_l0.copy_(layer.input.bias)
        library.bias_hh_l0.zero_()
        if layer.hidden.bias is not None:
            library.bias_hh_l0.copy_(layer.hidden.bias)
    return library


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_states_and_all_gradients_equal_the_librarys(family):
    torch.manual_seed(2)
    layer = layer_of(family).double()
    with torch.no_grad():
        for bias in (layer.input.bias, layer.hidden.bias):
            if bias is not None:
                bias.normal_()
    library = in_the_library(layer)
    x = torch.randn(LENGTH, ROWS, INPUTS, dtype=torch.double)
    start = torch.randn(STATES[family], ROWS, WIDTH, dtype=torch.double)
    weights = torch.randn(LENGTH, ROWS, WIDTH, dtype=torch.double)
    ours, theirs = [(x.clone().requires_grad_(), start.clone().requires_grad_()) for _ in "ab"]

    y, last = layer(*ours)
    (y * weights).sum().backward()
    state = (theirs[1][:1], theirs[1][1:]) if family == "lstm" else theirs[1]
    wanted, wanted_last = library(theirs[0], state)
    (wanted * weights).sum().backward()
    wanted_last = torch.cat(wanted_last) if family == "lstm" else wanted_last

    pairs = [(y, wanted), (last, wanted_last)]
    pairs += [(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True)]
    pairs += [
        (layer.input.weight.grad, library.weight_ih_l0.grad),
        (layer.hidden.weight.grad, library.weight_hh_l0.grad),
        (layer.input.bias.grad, library.bias_ih_l0.grad),
    ]
    if layer.hidden.bias is not None:
        pairs.append((layer.hidden.bias.grad, library.bias_hh_l0.grad))
    for found, right in pairs:
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_in_two_pieces_is_the_text(family):
    layer = layer_of(family)
    x = torch.randn(LENGTH, ROWS, INPUTS)
    whole, last = layer(x)
    first, state = layer(x[:3])
    second, end = layer(x[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)
    assert not end.requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_is_near_fp32_and_keeps_what_is_carried_in_fp32(family):
    layer = layer_of(family, 32, 32)
    x = torch.randn(40, 4, 32)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        layer.zero_grad()
        y, state = layer(x.to(dtype))
        assert y.dtype == dtype and state.dtype == torch.float32
        y.float().square().sum().backward()
        gradients.append(layer.hidden.weight.grad)
    assert (gradients[1] - gradients[0]).norm() < 0.03 * gradients[0].norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_recurrent_matrices_begin_orthogonal_and_an_lstm_remembers(family):
    layer = layer_of(family, 8, 16)
    for gate in layer.hidden.weight.detach().split(16):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(16), atol=1e-5, rtol=0)
    bias = layer.input.bias.detach()
    wanted = torch.zeros(GATES[family] * 16)
    if family == "lstm":
        wanted[16:32] = 1
    assert torch.equal(bias, wanted)
