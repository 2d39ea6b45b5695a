"""Transformers opens our encoder-decoders and computes the same; we open what it saved."""

import json

import pytest
import torch
from safetensors.torch import load_file

from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, read_config, write_config, write_weights
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig

transformers = pytest.importorskip("transformers")

END, START = 0, 1
ARCHITECTURES = ["pegasus", "marian"]


def made(architecture):
    """Two layers over three, so that neither can stand for the other; all weights matter."""
    model = EncoderDecoder(EncoderDecoderConfig(architecture, 61, 2, 3, 32, 4, 64, 24)).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.3, generator=generator)
            if name.endswith("norm.weight"):
                parameter.add_(1)
    return model


def written(architecture, folder):
    model = made(architecture)
    write_config(folder, model.config, END, START)
    write_weights(folder / "model.safetensors", model)
    return model


def logits_of(model, source, target):
    alone = torch.zeros_like(source), torch.zeros_like(target)
    return model(source, alone[0], target, alone[1]) @ model.head_weight.t()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_transformers_computes_the_same_logits(architecture, tmp_path):
    model = written(architecture, tmp_path)
    theirs, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    source, target = torch.randint(2, 61, (3, 11)), torch.randint(2, 61, (3, 7))
    expected = theirs.eval()(
        input_ids=source, attention_mask=torch.ones_like(source), decoder_input_ids=target
    ).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits_of(model, source, target), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_what_we_write_and_what_transformers_saves_opens_again(architecture, tmp_path):
    model = written(architecture, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config == read_config(tmp_path)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "theirs")
    source, target = torch.randint(2, 61, (2, 5)), torch.randint(2, 61, (2, 6))
    torch.testing.assert_close(
        logits_of(load_model(tmp_path / "theirs"), source, target),
        logits_of(model, source, target),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_function", "tanh"),
        ("static_position_embeddings", False),
        ("normalize_before", False),
        ("decoder_attention_heads", 2),
        ("decoder_ffn_dim", 128),
        ("tie_word_embeddings", False),
    ],
)
def test_what_our_mathematics_is_not_right_for_is_refused(field, value, tmp_path):
    written("pegasus", tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {field: value}))
    with pytest.raises(InputError, match=field):
        load_model(tmp_path)


def test_generation_has_room_and_starts_right(tmp_path):
    written("pegasus", tmp_path)
    generation = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert generation.max_length == 24
    assert generation.decoder_start_token_id == generation.pad_token_id == START
    assert generation.eos_token_id == END


def test_the_weights_hold_the_positions_that_engines_read(tmp_path):
    model = written("pegasus", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for side in ("encoder", "decoder"):
        assert torch.equal(tensors[f"model.{side}.embed_positions.weight"], model.positions)
    assert not tensors["final_logits_bias"].any()
