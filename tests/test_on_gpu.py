"""On a GPU a network learns what it learns on a CPU. Left out where there is none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import xunlian_command
from made_decoder import CONFIGS

from xunlian.interop.huggingface import build
from xunlian.models.decoder import Decoder, initialize
from xunlian.models.fp8 import fp8_linear, use_fp8
from xunlian.models.quantized import Quantized
from xunlian.models.recurrence import Recurrence, initialize_layer
from xunlian.training.cuda_graph import GraphedStep
from xunlian.training.growth import hold_back
from xunlian.training.losses import NextTokenLoss
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.parallel import Group
from xunlian.training.step import Stepper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
VOCAB, ROWS, CONTEXT = 500, 8, 64


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def made(device: str, *, architecture: str = "qwen3", dtype: torch.dtype, kind: str) -> Stepper:
    model = build(
        replace(
            CONFIGS[architecture],
            vocab_size=VOCAB,
            width=128,
            heads=2,
            kv_heads=2,
            head_width=64,
            mlp_width=256,
            context=CONTEXT,
        )
    )
    assert isinstance(model, Decoder)
    initialize(model, torch.Generator().manual_seed(5))
    model.to(device).train()
    settings = OptimizerSettings(
        kind, 0.01, 0.01, 0.01, 0.01, 0.1, 0.95, (0.9, 0.95), dtype, muon_block=0
    )
    group = Group(0, 1, torch.device(device))
    loss, optimizers = NextTokenLoss(model, dtype), Optimizers(model, settings)
    return Stepper(loss, optimizers, group, micro_rows=ROWS // 2, grad_clip=1.0)


def losses(stepper: Stepper, steps: int = 6) -> list[float]:
    """With rates and momenta that vary, as schedules have it."""
    tokens = np.random.default_rng(1).integers(0, VOCAB, (ROWS, CONTEXT + 1))
    batch = (tokens[:, :-1], tokens[:, 1:])
    return [stepper.step(batch, 1 - 0.05 * i, 0.9 + 0.01 * i).loss for i in range(steps)]


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_in_fp32_the_losses_are_those_of_a_cpu(architecture, kind):
    on_cpu = losses(made("cpu", architecture=architecture, dtype=torch.float32, kind=kind))
    on_gpu = losses(made("cuda", architecture=architecture, dtype=torch.float32, kind=kind))
    assert on_gpu == pytest.approx(on_cpu, abs=2e-3)
    assert on_gpu[-1] < on_gpu[0] - 0.3


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_in_bf16_compiled_and_queued_it_learns_the_same(kind):
    exact = losses(made("cpu", dtype=torch.float32, kind=kind))
    stepper = made("cuda", dtype=torch.bfloat16, kind=kind)
    stepper.compile()
    assert losses(stepper) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_as_a_graph_steps_give_what_they_give_launched_one_by_one(kind):
    plain = made("cuda", dtype=torch.bfloat16, kind=kind)
    plain.compile()
    plain._run = plain._update
    graphed = made("cuda", dtype=torch.bfloat16, kind=kind)
    graphed.compile()
    assert losses(graphed, 12) == pytest.approx(losses(plain, 12), abs=2e-3)
    assert isinstance(graphed._run, GraphedStep)
    assert graphed._run._graph is not None and not graphed._run.problem
    for one, other in zip(graphed.parameters, plain.parameters, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


def test_a_network_that_grows_learns_as_on_a_cpu():
    """Its step is a graph before, and another one after."""
    steppers = [made(device, dtype=torch.float32, kind="muon") for device in ("cpu", "cuda")]
    steppers[1].compile()
    found = []
    for stepper in steppers:
        hold_back(stepper.model, 1)
        found.append(losses(stepper))
        stepper.grow()
        found[-1] += losses(stepper)
    assert found[1] == pytest.approx(found[0], abs=0.005)


@pytest.mark.parametrize("steps", [2, 6])
def test_a_step_that_is_not_finite_changes_nothing(steps):
    """Launched kernel by kernel, and as a graph."""
    stepper = made("cuda", dtype=torch.bfloat16, kind="muon")
    stepper.compile()
    losses(stepper, steps)
    before = {name: value.clone() for name, value in stepper.model.state_dict().items()}
    weight = stepper.model.head_weight
    kept = weight.detach().clone()
    weight.data.fill_(float("inf"))
    tokens = np.zeros((ROWS, CONTEXT), dtype=np.int64)
    assert not stepper.step((tokens, tokens), 1.0, 1.0).finite
    weight.data.copy_(kept)
    for name, value in stepper.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_in_8_bits_products_are_near_and_it_learns():
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU has no products in 8 bits")
    generator = torch.Generator("cuda").manual_seed(3)
    x, weight, slope = (
        torch.randn(shape, device="cuda", generator=generator)
        for shape in ((4, 64, 128), (256, 128), (4, 64, 256))
    )
    weight.requires_grad_()
    given = x.bfloat16().requires_grad_()
    fp8_linear(given, weight, None).backward(slope.bfloat16())
    exact_x = x.bfloat16().float().requires_grad_()
    exact_weight = weight.detach().clone().requires_grad_()
    torch.nn.functional.linear(exact_x, exact_weight).backward(slope)
    for one, exact, most in (
        (given.grad, exact_x.grad, 0.1),
        (weight.grad, exact_weight.grad, 0.01),
    ):
        assert (one.float() - exact).norm() < most * exact.norm()
    stepper = made("cuda", dtype=torch.bfloat16, kind="muon")
    use_fp8(stepper.model.blocks)
    stepper.compile()
    exact_losses = losses(made("cpu", dtype=torch.float32, kind="muon"))
    assert losses(stepper) == pytest.approx(exact_losses, abs=0.2)


@pytest.mark.parametrize("family", ["rnn", "gru", "lstm"])
def test_a_recurrent_layer_and_its_gradients_are_those_of_a_cpu(family):
    layer = Recurrence(family, 16, 32)
    initialize_layer(layer, torch.Generator().manual_seed(1))
    x = torch.randn(20, 4, 16, generator=torch.Generator().manual_seed(2))
    found = []
    for device in ("cpu", "cuda"):
        layer.to(device).zero_grad()
        y, state = layer(x.to(device))
        y.square().sum().backward()
        gradients = [parameter.grad for parameter in layer.parameters()]
        found.append([tensor.detach().cpu() for tensor in (y, state, *gradients)])
    for on_cpu, on_gpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_frozen_matrices_are_restored_as_on_a_cpu(kind):
    if kind == "nf4":
        pytest.importorskip("bitsandbytes", reason="the extra `quantized` is not installed")
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(2))
    on_cpu = Quantized(weight, kind).restored(torch.float32)
    on_gpu = Quantized(weight, kind).to("cuda").restored(torch.float32)
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-5)


def test_the_verbs_find_the_gpu(tiny_corpus: Path, tmp_path: Path):
    settings = [f"corpus.path={tiny_corpus}", "model.width=128", "model.depth=2"]
    trained = xunlian_command(
        "train", "small", "--out", "run", *settings, "training.budget=200 steps", cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    facts = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert facts["best_val_loss"] < 2.6  # that of the frequencies of the characters is 3.2
    evaluated = xunlian_command("evaluate", "run", "--json", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    written = xunlian_command("generate", "run", "--max-tokens", "20", cwd=tmp_path)
    assert written.returncode == 0 and written.stdout, written.stderr
