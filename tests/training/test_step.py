"""One step equals what a textbook would write with PyTorch alone."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.losses import IGNORED
from xunlian.training.objectives import NextTokenLoss
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.parallel import Group
from xunlian.training.step import Stepper

VOCAB, ROWS, CONTEXT, RATE = 50, 8, 16, 0.01
ALONE = Group(0, 1, torch.device("cpu"))


def made_stepper(
    architecture: str = "qwen3", *, kind: str = "adamw", micro_rows: int = ROWS, clip: float = 0.0
) -> Stepper:
    """Always the same weights, none of them zero, so that every gradient counts."""
    model = Decoder(
        DecoderConfig(
            architecture,
            vocab_size=VOCAB,
            depth=2,
            width=32,
            heads=2,
            kv_heads=2,
            head_width=16,
            mlp_width=64,
            context=CONTEXT,
            tied=architecture == "gpt2",
        )
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    settings = OptimizerSettings(
        kind, RATE, RATE, RATE, RATE, 0.0, 0.95, (0.9, 0.95), torch.float32
    )
    optimizers = Optimizers(model, settings)
    loss = NextTokenLoss(model, torch.float32)
    return Stepper(loss, optimizers, ALONE, micro_rows=micro_rows, grad_clip=clip)


def batch(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(seed).integers(0, VOCAB, (ROWS, CONTEXT + 1))
    return tokens[:, :-1], tokens[:, 1:]


def reference_loss(model: Decoder, inputs: np.ndarray, targets: np.ndarray) -> torch.Tensor:
    """The library's mean cross-entropy over whole logits."""
    logits_BLV = model.logits(torch.from_numpy(inputs))
    return F.cross_entropy(
        logits_BLV.flatten(0, 1), torch.from_numpy(targets).flatten(), ignore_index=IGNORED
    )


def gradients_of_step(stepper: Stepper, inputs: np.ndarray, targets: np.ndarray):
    """The result of a step, and the gradients that reached the optimizers."""
    seen = {}
    update = stepper.optimizers.step

    def spy(rate_factor: float, momentum_factor: float) -> None:
        seen.update({n: p.grad.clone() for n, p in stepper.model.named_parameters()})
        update(rate_factor, momentum_factor)

    stepper.optimizers.step = spy
    result = stepper.step((inputs, targets), 1.0, 1.0)
    return result, seen


def total_norm(tensors) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def whole_state(stepper: Stepper) -> dict[str, torch.Tensor]:
    state = {**stepper.model.state_dict(), **stepper.optimizers.state_tensors()}
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_steps_equal_the_textbook_ones_with_clipping_and_adamw():
    stepper, reference = made_stepper(clip=0.1, micro_rows=2), made_stepper().model
    adamw = torch.optim.AdamW(
        reference.parameters(),
        lr=RATE,
        betas=(0.9, 0.95),
        eps=1e-10,
        weight_decay=0.0,
        foreach=True,
    )
    for seed in range(4):
        inputs, targets = batch(seed)
        result = stepper.step((inputs, targets), 1.0, 1.0)
        loss = reference_loss(reference, inputs, targets)
        adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.1).item()
        adamw.step()
        assert result.finite
        assert result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert result.grad_norm == pytest.approx(norm, rel=1e-4)
        assert norm > 0.1  # else nothing was clipped
    for ours, theirs in zip(stepper.parameters, reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
@pytest.mark.parametrize("micro_rows", [1, 3, 8])
def test_micro_batches_add_up_to_the_gradient_of_one_big_batch(architecture, micro_rows):
    """3 does not divide 8: the last micro-batch is shorter and counts for less."""
    inputs, targets = batch()
    stepper, reference = (
        made_stepper(architecture, micro_rows=micro_rows),
        made_stepper(architecture).model,
    )
    result, gradients = gradients_of_step(stepper, inputs, targets)
    loss = reference_loss(reference, inputs, targets)
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in reference.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_weights_after_a_step_do_not_depend_on_the_micro_batches(kind):
    whole, parts = made_stepper(kind=kind, micro_rows=ROWS), made_stepper(kind=kind, micro_rows=1)
    before = made_stepper(kind=kind).parameters
    for stepper in (whole, parts):
        stepper.step(batch(), 1.0, 1.0)
    for one, other, old in zip(whole.parameters, parts.parameters, before, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
        assert not torch.allclose(one, old, atol=1e-3)


def test_rate_factor_scales_the_update():
    before = made_stepper().parameters
    full, half = made_stepper(), made_stepper()
    full.step(batch(), 1.0, 1.0)
    half.step(batch(), 0.5, 1.0)
    for old, one, other in zip(before, full.parameters, half.parameters, strict=True):
        assert torch.allclose((one - old) / 2, other - old, atol=1e-6)


def test_padding_counts_neither_in_the_loss_nor_in_the_gradient():
    inputs, targets = batch()
    targets = targets.copy()
    targets[:2, CONTEXT // 2 :] = IGNORED
    targets[5] = IGNORED
    stepper, reference = made_stepper(micro_rows=2), made_stepper().model
    result, gradients = gradients_of_step(stepper, inputs, targets)
    loss = reference_loss(reference, inputs, targets)
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in reference.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize(("clip", "left"), [(0.01, 0.01), (1e6, None), (0.0, None)])
def test_clipping_scales_a_longer_gradient_to_the_given_norm_and_no_other(clip, left):
    inputs, targets = batch()
    reference = made_stepper().model
    reference_loss(reference, inputs, targets).backward()
    true_norm = total_norm(p.grad for p in reference.parameters())
    result, gradients = gradients_of_step(made_stepper(clip=clip), inputs, targets)
    assert result.grad_norm == pytest.approx(true_norm, rel=1e-4)  # told before clipping
    assert total_norm(gradients.values()) == pytest.approx(left or true_norm, rel=1e-4)
    shrink = (left or true_norm) / true_norm
    for name, parameter in reference.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad * shrink, atol=1e-6, rtol=1e-3)


def poison_the_loss(stepper: Stepper):
    """Makes every loss NaN until the returned function is called."""
    weight = stepper.model.blocks[1].mlp_norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = math.inf

    def heal() -> None:
        with torch.no_grad():
            weight.copy_(kept)

    return heal


def poison_the_gradient(stepper: Stepper):
    """Leaves the loss as it is and makes one gradient infinite."""
    return stepper.parameters[3].register_hook(lambda gradient: gradient * math.inf).remove


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("poison", [poison_the_loss, poison_the_gradient])
def test_a_step_that_is_not_finite_changes_nothing(kind, poison):
    stepper, never_poisoned = made_stepper(kind=kind, clip=1.0), made_stepper(kind=kind, clip=1.0)
    for each in (stepper, never_poisoned):
        assert each.step(batch(1), 1.0, 1.0).finite  # the optimizer has a state to lose
    heal = poison(stepper)
    before = whole_state(stepper)
    result = stepper.step(batch(2), 1.0, 1.0)
    assert not result.finite
    assert math.isfinite(result.loss) == (poison is poison_the_gradient)
    assert_same(before, whole_state(stepper))
    assert all(parameter.grad is None for parameter in stepper.parameters)
    heal()
    for each in (stepper, never_poisoned):
        assert each.step(batch(3), 1.0, 1.0).finite
    assert_same(whole_state(stepper), whole_state(never_poisoned))
