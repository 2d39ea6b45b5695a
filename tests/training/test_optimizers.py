"""Groups and state of the optimizers do what they say."""

import pytest
import torch

from xunlian.models.decoder import Decoder, DecoderConfig, initialize
from xunlian.training.optimizers import Optimizers, OptimizerSettings


def tiny(tied: bool = False) -> Decoder:
    model = Decoder(
        DecoderConfig(
            "qwen3",
            vocab_size=50,
            depth=2,
            width=32,
            heads=2,
            kv_heads=2,
            head_width=16,
            mlp_width=64,
            context=16,
            tied=tied,
        )
    )
    initialize(model, torch.Generator().manual_seed(1))
    return model


SETTINGS = OptimizerSettings("muon", 0.02, 0.03, 0.004, 0.01, 0.1, 0.95, (0.9, 0.95), torch.float32)


def test_every_parameter_is_in_exactly_one_group():
    for tied in (True, False):
        model = tiny(tied)
        optimizers = Optimizers(model, SETTINGS)
        grouped = [p for o in optimizers.all for g in o.param_groups for p in g["params"]]
        assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))


def test_rates_follow_the_factor_and_matrices_go_to_muon():
    model = tiny()
    optimizers = Optimizers(model, SETTINGS)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step(rate_factor=0.5, momentum_factor=1.0)
    assert optimizers.muon is not None
    assert optimizers.muon.param_groups[0]["lr"] == pytest.approx(0.01)
    assert len(optimizers.muon.param_groups[0]["params"]) == 2 * 7
    assert {g["lr"] for g in optimizers.adamw.param_groups} == {0.015, 0.002, 0.005}


def test_state_survives_a_round_trip():
    first, second = tiny(), tiny()
    one, two = Optimizers(first, SETTINGS), Optimizers(second, SETTINGS)

    def update(model: Decoder, optimizers: Optimizers, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizers.step(1.0, 1.0)

    update(first, one, 1)
    second.load_state_dict(first.state_dict())
    two.load_state_tensors(one.state_tensors())
    update(first, one, 2)
    update(second, two, 2)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_average_of_the_weights_is_what_it_says_and_survives_a_save():
    model = torch.nn.Linear(3, 2, bias=False)
    settings = OptimizerSettings(
        "adamw", 0.1, 0.1, 0.1, 0.1, 0.0, 0.95, (0.9, 0.95), torch.float32, average_decay=0.8
    )
    optimizers = Optimizers(model, settings)
    expected = model.weight.detach().clone()
    for step in range(5):
        model.weight.grad = torch.full_like(model.weight, step - 1.5)
        optimizers.step(1.0, 1.0)
        expected = 0.8 * expected + 0.2 * model.weight.detach()
    last = model.weight.detach().clone()
    with optimizers.averaged():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, last)

    saved = {name: tensor.clone() for name, tensor in optimizers.state_tensors().items()}
    restored = Optimizers(model, settings)
    restored.load_state_tensors(saved)
    with restored.averaged():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert saved.keys() == restored.state_tensors().keys()


def test_loaded_step_counts_are_where_the_fused_kernel_reads_them(monkeypatch):
    """That is beside the parameters, on a GPU too; for which stands the device `meta`."""
    adamw = torch.optim.AdamW
    monkeypatch.setattr(
        torch.optim, "AdamW", lambda groups, **options: adamw(groups, **{**options, "fused": False})
    )
    settings = OptimizerSettings(
        "adamw", 0.02, 0.01, 0.01, 0.01, 0.0, 0.95, (0.9, 0.95), torch.float32
    )
    optimizers = Optimizers(tiny().to("meta"), settings)
    counts = {f"{name}/step": torch.tensor(3.0) for name in optimizers.names.values()}
    optimizers.load_state_tensors(counts)
    loaded = optimizers.state_tensors()
    assert loaded.keys() == counts.keys()
    assert all(tensor.is_meta for tensor in loaded.values())
