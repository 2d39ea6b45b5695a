"""The losses of preferences, against the formulas of their papers in plain double precision."""

import math

import pytest
import torch

from xunlian.models.preference import losses_and_rewards

CHOSEN, REJECTED = (-12.0, 4), (-9.0, 3)  # summed log-probability, tokens
REFERENCE = (-13.0, -8.5)


def found(method, beta, gamma=0.0, smoothing=0.0):
    def row(*values):
        return torch.tensor(values, dtype=torch.float64).view(1, 2, 1)

    losses, rewards = losses_and_rewards(
        row(CHOSEN[0], REJECTED[0]), row(CHOSEN[1], REJECTED[1]), row(*REFERENCE),
        method=method, beta=beta, gamma=gamma, smoothing=smoothing,
    )  # fmt: skip
    return losses.item(), rewards.flatten().tolist()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dpo_is_equation_7_of_its_paper_and_its_conservative_form(smoothing):
    rewards = [0.3 * (CHOSEN[0] - REFERENCE[0]), 0.3 * (REJECTED[0] - REFERENCE[1])]
    win = sigmoid(rewards[0] - rewards[1])
    wanted = -(1 - smoothing) * math.log(win) - smoothing * math.log(1 - win)
    assert found("dpo", 0.3, smoothing=smoothing) == (
        pytest.approx(wanted, rel=1e-12),
        pytest.approx(rewards),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_is_equation_6_of_its_paper(smoothing):
    rewards = [2.0 * log_p / tokens for log_p, tokens in (CHOSEN, REJECTED)]
    win = sigmoid(rewards[0] - rewards[1] - 1.5)
    wanted = -(1 - smoothing) * math.log(win) - smoothing * math.log(1 - win)
    assert found("simpo", 2.0, 1.5, smoothing) == (
        pytest.approx(wanted, rel=1e-12),
        pytest.approx(rewards),
    )


def test_orpo_is_equation_6_of_its_paper():
    odds = []
    for log_p, tokens in (CHOSEN, REJECTED):
        p = math.exp(log_p / tokens)
        odds.append(p / (1 - p))
    wanted = -CHOSEN[0] / CHOSEN[1] - 0.2 * math.log(sigmoid(math.log(odds[0] / odds[1])))
    assert found("orpo", 0.2)[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo"])
def test_a_place_without_a_preference_has_a_finite_loss_and_no_gradient(method):
    log_p = torch.zeros(1, 2, 3, requires_grad=True)
    tokens = torch.tensor([5.0, 0.0, 0.0]).expand(1, 2, 3)
    losses, _ = losses_and_rewards(
        log_p * (tokens > 0), tokens, torch.zeros(1, 2, 3),
        method=method, beta=1.0, gamma=0.0, smoothing=0.0,
    )  # fmt: skip
    assert losses.isfinite().all()
    (losses * torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    assert log_p.grad.isfinite().all() and not log_p.grad[..., 1:].any()
