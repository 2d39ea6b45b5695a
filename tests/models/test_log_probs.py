"""Log-probabilities in chunks against PyTorch's own over whole logits."""

import pytest
import torch
from test_losses import CASES, agree, some_batch

from xunlian.models.log_probs import token_log_probs
from xunlian.models.losses import IGNORED


@pytest.mark.parametrize(("positions", "vocab", "ignored"), CASES)
def test_log_probs_and_the_gradients_of_any_loss_of_them_are_those_of_whole_logits(
    positions, vocab, ignored
):
    hidden, weight, targets = some_batch(positions, vocab, ignored)
    bend = torch.rand(positions, generator=torch.Generator().manual_seed(1)) - 0.5

    def found(hidden, weight, log_probs):
        hidden, weight = (x.clone().requires_grad_() for x in (hidden, weight))
        logs = log_probs(hidden, weight)
        # No sum: what a token counts for depends on all of them.
        ((logs * bend.to(logs.dtype)).sum() ** 2 / positions).backward()
        return logs.detach(), hidden.grad, weight.grad

    def plain(hidden, weight):
        logs = (hidden @ weight.t()).log_softmax(-1)
        kept = targets != IGNORED
        return logs.gather(-1, targets.clamp(min=0)[:, None])[:, 0] * kept

    ours = found(hidden, weight, lambda h, w: token_log_probs(h, w, targets))
    wanted = found(hidden.double(), weight.double(), plain)
    agree(ours, wanted, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        agree([token_log_probs(hidden, weight, targets)], wanted[:1], atol=1e-5, rtol=1e-5)


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_the_same():
    from functools import partial

    from xunlian.models.log_probs import log_prob_gradients

    hidden, weight, targets = some_batch(50, 11)
    gradients = []
    for options in ({}, {"gradients": partial(log_prob_gradients, by_weight=False)}):
        h = hidden.clone().requires_grad_()
        w = weight.clone().requires_grad_(not options)
        (token_log_probs(h, w, targets, **options) ** 2).sum().backward()
        gradients.append(h.grad)
        assert (w.grad is None) == bool(options)
    assert torch.equal(*gradients)
