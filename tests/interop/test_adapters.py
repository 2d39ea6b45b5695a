"""Adapters on disk are PEFT's: the same files give the same logits, there and merged here."""

import json

import pytest
import torch
from made_decoder import CONFIGS, PORTABLE
from made_decoder import randomized as randomized_decoder
from made_pairs import CONFIGS as PAIR_CONFIGS
from made_pairs import randomized as randomized_pairs
from safetensors.torch import load_file

from xunlian.errors import InputError
from xunlian.interop.adapters import (
    adapt,
    read_adapter,
    read_adapter_config,
    write_adapter,
    write_adapter_config,
)
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.models.adapter import adapted_layers, merge_adapters
from xunlian.recipe.adapter import Adapter


def make_adapted(folder, name, settings):
    """A base model written to disk, and it again with adapters that change it much."""
    pairs = name in PAIR_CONFIGS
    model = (randomized_pairs if pairs else randomized_decoder)((PAIR_CONFIGS | CONFIGS)[name])
    base, made = folder / "base", folder / "adapter"
    made.mkdir()
    write_config(base, model.config, 3, 0)
    write_weights(base / "model.safetensors", model)
    adapt(model, settings, seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for adapter in adapted_layers(model).values():
            for parameter in adapter.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    write_adapter_config(made, model.config, settings, base)
    write_adapter(made / "adapter_model.safetensors", model)
    return model.eval(), base, made


def our_logits(model, tokens):
    with torch.no_grad():
        if not hasattr(model, "encode"):
            return model.logits(tokens)
        pairs = torch.zeros_like(tokens)
        hidden = model(tokens, pairs, tokens, pairs)
        return torch.nn.functional.linear(hidden, model.head_weight)


def their_network(base, name):
    import transformers

    pairs = name in PAIR_CONFIGS
    kind = transformers.AutoModelForSeq2SeqLM if pairs else transformers.AutoModelForCausalLM
    return kind.from_pretrained(base).eval()


def their_logits(network, tokens, name):
    inputs = {"decoder_input_ids": tokens} if name in PAIR_CONFIGS else {}
    with torch.no_grad():
        return network(input_ids=tokens, **inputs).logits


def merged_by_names(network, made):
    """Transformers' network with the adapter of a folder in its weights: by PEFT's names, and the
    formulas of the papers."""
    config = json.loads((made / "adapter_config.json").read_text())
    tensors = load_file(made / "adapter_model.safetensors")
    weights, scale = network.state_dict(), config["lora_alpha"] / config["r"]
    targets = tuple(f".{name}" for name in config["target_modules"])
    places = [name for name, _ in network.named_modules() if name.endswith(targets)]
    for place in places:
        found = f"base_model.model.{place}"
        weight_OI = weights[f"{place}.weight"]
        if config["fan_in_fan_out"]:
            weight_OI = weight_OI.T
        up, down = (tensors.pop(f"{found}.lora_{part}.weight") for part in "BA")
        merged_OI = weight_OI + scale * up @ down
        if config["use_dora"]:
            lengths_O = tensors.pop(f"{found}.lora_magnitude_vector")
            merged_OI *= (lengths_O / merged_OI.norm(dim=1))[:, None]
        weight_OI.copy_(merged_OI)
    assert places and not tensors
    return network


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", [*PORTABLE, *PAIR_CONFIGS])
def test_what_is_written_changes_transformers_weights_to_the_same_logits(name, kind, tmp_path):
    pytest.importorskip("transformers")
    model, base, made = make_adapted(tmp_path, name, Adapter(kind=kind, rank=3, alpha=5))
    theirs = their_network(base, name)
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    ours, plain = our_logits(model, tokens), their_logits(theirs, tokens, name)
    assert (ours - plain).abs().max() > 0.1, "the adapter changes nothing"
    merged = their_logits(merged_by_names(theirs, made), tokens, name)
    torch.testing.assert_close(ours, merged, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", [*PORTABLE, *PAIR_CONFIGS])
def test_peft_opens_what_is_written_and_merges_to_the_same_logits(name, kind, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    settings = Adapter(kind=kind, rank=3, alpha=5)
    model, base, made = make_adapted(tmp_path, name, settings)
    theirs = peft.PeftModel.from_pretrained(their_network(base, name), made).eval()
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    ours = our_logits(model, tokens)
    plain = their_logits(their_network(base, name), tokens, name)
    assert (ours - plain).abs().max() > 0.1, "the adapter changes nothing"
    torch.testing.assert_close(ours, their_logits(theirs, tokens, name), atol=1e-4, rtol=1e-4)
    merge_adapters(model)
    torch.testing.assert_close(our_logits(model, tokens), ours, atol=1e-4, rtol=1e-4)
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(
        our_logits(model, tokens), their_logits(merged, tokens, name), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_gradients_are_those_of_peft(kind, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    import transformers

    model, base, made = make_adapted(tmp_path, "qwen3", Adapter(kind=kind, rank=3))
    theirs = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base), made, is_trainable=True
    ).eval()
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    model.logits(tokens).square().mean().backward()
    theirs(tokens).logits.square().mean().backward()
    found = theirs.get_submodule("base_model.model.model.layers.1.mlp.down_proj")
    ours = adapted_layers(model)["blocks.1.mlp.output"]
    pairs = [(ours.down, found.lora_A), (ours.up, found.lora_B)]
    if kind == "dora":
        pairs.append((ours.magnitude, found.lora_magnitude_vector))
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other["default"].weight.grad, atol=1e-5, rtol=1e-4)


def test_what_was_written_is_read_back(tmp_path):
    settings = Adapter(kind="dora", rank=3, alpha=5, dropout=0.1, targets=("c_attn", "c_proj"))
    model, base, made = make_adapted(tmp_path, "gpt2", settings)
    found, place = read_adapter_config(made)
    assert found == settings and place == base
    again = randomized_decoder(CONFIGS["gpt2"])
    adapt(again, found, seed=9)
    read_adapter(made, again)
    expected = model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_files_of_another_network_and_damaged_ones_are_refused(tmp_path):
    _, _, made = make_adapted(tmp_path, "qwen3", Adapter(rank=3))
    other = randomized_decoder(CONFIGS["qwen3 grouped"])
    adapt(other, Adapter(rank=3), seed=1)
    with pytest.raises(InputError, match="do not belong together"):
        read_adapter(made, other)
    (made / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors' is missing, damaged"):
        read_adapter(made, other)
    (made / "adapter_config.json").write_text('{"r": 3}')
    with pytest.raises(InputError, match=r"adapter_config\.json' is damaged"):
        read_adapter_config(made)


def test_a_network_that_peft_does_not_know_is_refused():
    with pytest.raises(InputError, match="only Xunlian opens"):
        adapt(randomized_decoder(CONFIGS["speedrun"]), Adapter(), seed=1)
