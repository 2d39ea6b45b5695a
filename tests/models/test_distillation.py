"""The distillation loss in chunks against the formula over whole logits, in float64."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from xunlian.models.distillation import distilled_gradients
from xunlian.models.losses import CHUNK_LOGITS, IGNORED, chunk_positions, cross_entropy

WIDTH, TEACHER_WIDTH = 8, 12
SEVERAL = 2 * chunk_positions(torch.empty(20_000, 1)) + 17  # of a vocabulary of 20,000


def some_lesson(positions, vocab, known, ignored=0.0):
    """Hidden states, head and targets of a student; hidden states and head of its teacher."""
    generator = torch.Generator().manual_seed(positions)
    hidden_ND, taught_NE = (
        torch.randn(positions, width, generator=generator) for width in (WIDTH, TEACHER_WIDTH)
    )
    weight_VD = torch.randn(vocab, WIDTH, generator=generator)
    teacher_KE = torch.randn(known, TEACHER_WIDTH, generator=generator)
    targets_N = torch.randint(known, (positions,), generator=generator)
    targets_N[torch.rand(positions, generator=generator) < ignored] = IGNORED
    return hidden_ND, weight_VD, targets_N, taught_NE, teacher_KE


def agree(found, expected, **tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)


def ours(lesson, temperature, hard_weight, smoothing=0.0):
    hidden_ND, weight_VD, targets_N, *taught = lesson
    hidden_ND, weight_VD = (x.clone().requires_grad_() for x in (hidden_ND, weight_VD))

    def gradients(*chunk):
        return distilled_gradients(
            *chunk, temperature=temperature, hard_weight=hard_weight, smoothing=smoothing
        )

    loss = cross_entropy(hidden_ND, weight_VD, targets_N, gradients, tuple(taught))
    loss.backward()
    return loss.detach(), hidden_ND.grad, weight_VD.grad


def reference(lesson, temperature, hard_weight, smoothing=0.0):
    hidden_ND, weight_VD, targets_N, taught_NE, teacher_KE = lesson
    hidden_ND, weight_VD = (x.double().requires_grad_() for x in (hidden_ND, weight_VD))
    logits = hidden_ND @ weight_VD.t()
    hard = F.cross_entropy(
        logits, targets_N, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    kept = targets_N != IGNORED
    taught = taught_NE.double() @ teacher_KE.double().t() / temperature
    soft = F.kl_div(
        (logits[kept, : len(teacher_KE)] / temperature).log_softmax(-1),
        taught[kept].softmax(-1),
        reduction="sum",
    )
    loss = hard_weight * hard + (1 - hard_weight) * temperature**2 * soft
    loss.backward()
    return loss.detach(), hidden_ND.grad, weight_VD.grad


@pytest.mark.parametrize(("temperature", "hard_weight"), [(1, 0.5), (2.5, 0.1), (0.5, 0), (4, 1)])
@pytest.mark.parametrize(("positions", "vocab", "known"), [(1, 11, 11), (300, 97, 90)])
def test_loss_and_gradients_are_those_of_the_formula(
    positions, vocab, known, temperature, hard_weight
):
    lesson = some_lesson(positions, vocab, known, 0.3 if positions > 1 else 0)
    settings = temperature, hard_weight
    agree(ours(lesson, *settings), reference(lesson, *settings), atol=1e-5, rtol=1e-5)


def test_several_chunks_and_smoothed_labels_too():
    lesson = some_lesson(SEVERAL, 20_000, 19_990, 0.2)
    agree(ours(lesson, 2, 0.4, 0.1), reference(lesson, 2, 0.4, 0.1), atol=1e-5, rtol=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    hidden_ND, weight_VD, targets_N, *_ = some_lesson(200, 50, 50)
    loss, by_hidden, by_weight = ours((hidden_ND, weight_VD, targets_N, hidden_ND, weight_VD), 2, 0)
    assert loss.abs() < 1e-4
    assert by_hidden.abs().max() < 1e-5 and by_weight.abs().max() < 1e-4


class Largest(TorchDispatchMode):
    """The most numbers that a tensor had."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return found


def test_neither_models_logits_exist_whole():
    lesson = some_lesson(SEVERAL, 20_000, 20_000)
    with Largest() as largest:
        ours(lesson, 1, 0.5)
    assert largest.numbers <= CHUNK_LOGITS < SEVERAL * 20_000
