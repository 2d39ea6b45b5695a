"""Adapters on disk are PEFT's: the same files give the same logits, there and merged here."""

import pytest
import torch
from made_decoder import CONFIGS, PORTABLE
from made_decoder import randomized as randomized_decoder
from made_pairs import CONFIGS as PAIR_CONFIGS
from made_pairs import randomized as randomized_pairs

from xunlian.interop.adapters import (
    adapt,
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


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", [*PORTABLE, *PAIR_CONFIGS])
def test_peft_opens_what_is_written_and_merges_to_the_same_logits(name, kind, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    import transformers

    settings = Adapter(kind=kind, rank=3, alpha=5)
    model, base, made = make_adapted(tmp_path, name, settings)
    auto = (
        transformers.AutoModelForSeq2SeqLM
        if name in PAIR_CONFIGS
        else (transformers.AutoModelForCausalLM)
    )
    theirs = peft.PeftModel.from_pretrained(auto.from_pretrained(base), made).eval()
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    inputs = {"input_ids": tokens}
    if name in PAIR_CONFIGS:
        inputs["decoder_input_ids"] = tokens

    def their_logits(network):
        with torch.no_grad():
            return network(**inputs).logits

    ours = our_logits(model, tokens)
    plain = their_logits(auto.from_pretrained(base))
    assert (ours - plain).abs().max() > 0.1, "the adapter changes nothing"
    torch.testing.assert_close(ours, their_logits(theirs), atol=1e-4, rtol=1e-4)
    merge_adapters(model)
    torch.testing.assert_close(our_logits(model, tokens), ours, atol=1e-4, rtol=1e-4)
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(
        our_logits(model, tokens), their_logits(merged), atol=1e-4, rtol=1e-4
    )
