"""Recurrent networks: the state is all there is, the future is not seen, padding does nothing."""

import pytest
import torch
from made_recurrent import FAMILIES, VOCABULARY, SlowModel, randomized
from torch.nn import functional as F

from xunlian.training.losses import CarriedLoss


def some_tokens(*shape, seed=3):
    return torch.randint(2, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_the_equations_token_by_token(family, tied):
    model = randomized(family, tied=tied)
    tokens = some_tokens(2, 9)
    slow = SlowModel(model)
    wanted = slow.logits(tokens)
    if not tied:
        wanted = wanted @ torch.linalg.pinv(slow.embedding.t()) @ model.head.weight.double().t()
    torch.testing.assert_close(model.logits(tokens).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_four_steps_with_carried_state_are_truncated_backpropagation(family):
    """Losses, and the gradient of each step, which ends at the step's beginning."""
    model, lanes, length = randomized(family), 3, 5
    stream = some_tokens(lanes, 4 * length + 1)
    loss, slow = CarriedLoss(model, torch.float32, 0.0, lanes), SlowModel(model)
    for step in range(4):
        if step == 2:  # lane 1 begins anew
            for number, state in enumerate(slow.state):
                slow.state[number] = state * torch.tensor([1.0, 0.0, 1.0]).unsqueeze(1)
        part = stream[:, step * length : (step + 1) * length + 1]
        begins = torch.tensor([step == 0, step in (0, 2), step == 0])
        model.zero_grad()
        found = loss(part[:, :-1], torch.arange(lanes), begins, part[:, 1:])
        found.backward()
        slow.embedding.grad = None
        wanted = F.cross_entropy(
            slow.logits(part[:, :-1]).transpose(1, 2), part[:, 1:], reduction="sum"
        )
        wanted.backward()
        slow.cut()
        assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
        torch.testing.assert_close(
            model.embedding.weight.grad.double(), slow.embedding.grad, rtol=1e-3, atol=1e-3
        )


def test_lanes_in_two_micro_batches_are_the_lanes_at_once():
    model = randomized("lstm")
    stream = some_tokens(4, 11)
    whole, parts = (CarriedLoss(model, torch.float32, 0.0, 4) for _ in "ab")
    begins = torch.zeros(4, dtype=torch.bool)
    for step in range(2):
        part = stream[:, step * 5 : step * 5 + 6]
        args = part[:, :-1], torch.arange(4), begins, part[:, 1:]
        one = whole(*args)
        two = sum(parts(*(a[rows] for a in args)) for rows in (slice(0, 2), slice(2, 4)))
        assert one.item() == pytest.approx(two.item(), rel=1e-6)
    torch.testing.assert_close(whole.carried, parts.carried)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_neighbours_change_nothing(family):
    model = randomized(family, pairs=True)
    lengths = [3, 8, 1, 5]
    sources, inputs = some_tokens(4, 8), some_tokens(4, 6, seed=4)
    marks = torch.where(torch.arange(8) < torch.tensor(lengths).unsqueeze(1), 0, -1)
    together = model(sources, marks, inputs)
    noise = torch.where(marks < 0, some_tokens(4, 8, seed=5), sources)
    torch.testing.assert_close(model(noise, marks, inputs), together)
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = model(sources[one, :length], marks[one, :length], inputs[one])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_does_not_see_its_future_but_all_of_its_source(family):
    model = randomized(family, pairs=True)
    source, inputs, marks = some_tokens(1, 7), some_tokens(1, 6, seed=4), torch.zeros(1, 7).long()
    hidden = model(source, marks, inputs)
    changed = inputs.clone()
    changed[0, 4] = (inputs[0, 4] + 1) % VOCABULARY
    after = model(source, marks, changed)
    assert torch.equal(hidden[0, :4], after[0, :4])
    assert (hidden[0, 4:] != after[0, 4:]).any(-1).all()
    for place in (0, 6):
        other = source.clone()
        other[0, place] = (source[0, place] + 1) % VOCABULARY
        assert (model(other, marks, inputs)[0, 0] - hidden[0, 0]).abs().max() > 1e-4
