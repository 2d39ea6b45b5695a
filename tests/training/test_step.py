"""One step equals what a textbook would write with PyTorch alone."""

import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from xunlian.interop.huggingface import build
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.losses import IGNORED
from xunlian.training.losses import NextTokenLoss
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.parallel import Group, as_tensor
from xunlian.training.step import Stepper

VOCAB, ROWS, CONTEXT, RATE = 50, 8, 16, 0.01
ALONE = Group(0, 1, torch.device("cpu"))


def made_stepper(
    architecture: str = "qwen3",
    *,
    kind: str = "adamw",
    micro_rows: int = ROWS,
    clip: float = 0.0,
    decay: float = 0.0,
    average: float = 0.0,
    group: Group = ALONE,
    place: Callable[[Decoder], Decoder] = lambda model: model,
) -> Stepper:
    """Always the same weights, none of them zero, so that every gradient counts."""
    model = build(
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
        kind, RATE, RATE, RATE, RATE, decay, 0.95, (0.9, 0.95), torch.float32, average
    )
    model = place(model)
    with getattr(place, "mode", nullcontext()):
        optimizers = Optimizers(model, settings)
    loss = NextTokenLoss(model, torch.float32)
    return Stepper(loss, optimizers, group, micro_rows=micro_rows, grad_clip=clip)


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
    update = stepper.optimizers.update

    def spy(left_out: torch.Tensor | None) -> None:
        seen.update({n: p.grad.clone() for n, p in stepper.model.named_parameters()})
        update(left_out)

    stepper.optimizers.update = spy
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


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2", "speedrun"])
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


@pytest.mark.parametrize("architecture", ["qwen3", "speedrun"])
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_weights_after_a_step_do_not_depend_on_the_micro_batches(kind, architecture):
    whole = made_stepper(architecture, kind=kind, micro_rows=ROWS)
    parts = made_stepper(architecture, kind=kind, micro_rows=1)
    before = made_stepper(architecture, kind=kind).parameters
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


# A GPU's way, where the host does not wait: on a CPU, and on a GPU that computes nothing


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_that_is_queued_gives_the_bits_of_one_that_is_waited_for(kind, monkeypatch):
    options = {"kind": kind, "clip": 1.0, "decay": 0.1, "average": 0.9}
    waiting, queueing = made_stepper(**options), made_stepper(**options)
    for seed in range(3):
        monkeypatch.setattr(Stepper, "queues", False)
        one = waiting.step(batch(seed), 0.7, 0.9)
        monkeypatch.setattr(Stepper, "queues", True)
        other = queueing.step(queueing.load(batch(seed)), 0.7, 0.9)
        assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)
        assert one.finite and other.finite
    assert_same(whole_state(waiting), whole_state(queueing))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("poison", [poison_the_loss, poison_the_gradient])
@pytest.mark.parametrize("begun", [False, True])
def test_a_queued_step_that_is_not_finite_changes_nothing(kind, poison, begun, monkeypatch):
    monkeypatch.setattr(Stepper, "queues", True)
    stepper = made_stepper(kind=kind, clip=1.0, decay=0.1, average=0.9)
    if begun:
        stepper.step(batch(1), 1.0, 1.0)
    poison(stepper)
    before = whole_state(stepper)
    assert not stepper.step(batch(2), 1.0, 1.0).finite
    after = whole_state(stepper)
    assert_same(before, {name: after[name] for name in before})
    new = after.keys() - before.keys()
    assert begun != bool(new)
    assert not any(after[name].any() for name in new)


class OnFakeGPU:
    """Moves a network to a GPU whose tensors hold no numbers: to ask for one is an error."""

    device = torch.device("cuda", 0)

    def __init__(self, mode: FakeTensorMode):
        self.mode = mode

    def __call__(self, model: Decoder) -> Decoder:
        with self.mode:
            for module in model.modules():
                for name, parameter in module._parameters.items():
                    if parameter is not None:
                        empty = torch.empty(parameter.shape, device=self.device)
                        module._parameters[name] = nn.Parameter(empty)
        return model


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_on_a_gpu_no_update_waits_for_the_device(kind, monkeypatch):
    recorded = []

    class Event:
        def record(self) -> None:
            recorded.append(self)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    # With a rate on the device it has no form for tensors without numbers.
    monkeypatch.setattr(torch, "_fused_adamw_", lambda *_, **__: None)
    mode = FakeTensorMode()
    place = OnFakeGPU(mode)
    group = Group(0, 1, place.device)
    stepper = made_stepper(kind=kind, clip=1.0, decay=0.1, average=0.9, group=group, place=place)
    with mode:
        loss_sum = torch.empty((), device=place.device)
        with pytest.raises(DataDependentOutputException):
            loss_sum.item()  # what the step may not do
        monkeypatch.setattr(stepper, "backward", lambda _: loss_sum)
        targets = torch.empty(ROWS, CONTEXT, dtype=torch.int64, device=place.device)
        for _ in range(2):
            for parameter in stepper.parameters:
                parameter.grad = torch.empty_like(parameter)
            result = stepper.step((targets, targets), 1.0, 1.0)
            assert recorded == [result._copied]
            recorded.clear()
        state = stepper.optimizers.state_tensors()
    assert any(name.endswith(("momentum", "exp_avg")) for name in state)
    assert {tensor.device for tensor in state.values()} == {place.device}


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_no_forward_or_backward_pass_asks_the_device_for_a_number(architecture, monkeypatch):
    """Tensors of the device `meta` have none."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda *_, **__: None)
    group = Group(0, 1, torch.device("meta"))
    stepper = made_stepper(
        architecture, kind="muon", micro_rows=3, group=group, place=lambda model: model.to("meta")
    )
    loss_sum = stepper.backward(batch())
    assert loss_sum.is_meta and all(p.grad.is_meta for p in stepper.parameters)
    with pytest.raises(RuntimeError, match="meta"):
        loss_sum.item()


def test_rows_go_to_a_gpu_from_pinned_memory_without_waiting(monkeypatch):
    calls = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(("pinned", tensor.is_contiguous()))
        return tensor

    def to(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        calls.append((device.type, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    rows = np.arange(34).reshape(2, 17)
    moved = as_tensor(rows[:, 1:], torch.device("cuda", 0))
    assert calls == [("pinned", True), ("cuda", True)]
    assert moved.tolist() == rows[:, 1:].tolist()
