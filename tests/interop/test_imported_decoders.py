"""Decoders that other people trained: Transformers' logits from its folders, and back again."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from xunlian.decoding.engine import Engine
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, read_config, write_config, write_weights
from xunlian.models.layers import RopeScaling

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 61,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **more}}


MODELS = {
    "llama": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama with wide heads": ("Llama", {"head_dim": 20}),
    "llama without groups": ("Llama", {"num_key_value_heads": 4}),
    "llama linear": ("Llama", rope("linear", factor=4.0)),
    "llama dynamic": ("Llama", rope("dynamic", factor=4.0)),
    "llama 3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2", {}),
    "qwen2 tied": ("Qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3 with default heads": ("Qwen3", {}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral with wide heads": ("Mistral", {"sliding_window": None, "head_dim": 20}),
}


def made(name, **more):
    """Their model, every weight, biases and norms too, of a size that matters."""
    kind, fields = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**SMALL | fields | more)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.2 * noise)
    return model


def some_tokens(rows, length):
    return torch.randint(61, (rows, length), generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def agree(ours, theirs, length=40):
    tokens = some_tokens(3, length)
    expected = theirs(tokens).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(ours.logits(tokens), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_we_give_transformers_logits_from_its_folder(name, tmp_path):
    theirs = made(name)
    theirs.save_pretrained(tmp_path)
    agree(load_model(tmp_path), theirs)


@pytest.mark.parametrize("name", MODELS)
def test_transformers_gives_the_same_logits_from_what_we_write(name, tmp_path):
    theirs = made(name)
    theirs.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs")
    write_config(tmp_path / "ours", model.config, end_id=2)
    write_weights(tmp_path / "ours" / "model.safetensors", model)
    assert read_config(tmp_path / "ours") == model.config
    again, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert type(again) is type(theirs) and not any(report.values()), report
    agree(load_model(tmp_path / "ours"), again)
    agree(model, theirs)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_tokens_read_one_by_one_from_the_cache_have_transformers_logits(name, tmp_path):
    theirs = made(name)
    theirs.save_pretrained(tmp_path)
    engine = Engine(load_model(tmp_path), "fp32")
    tokens = some_tokens(2, 20)
    # Prompts of different lengths, so that one row starts further right.
    prompts = {0: tokens[0, :9].tolist(), 1: tokens[1, :5].tolist()}
    cache = engine.new_cache(rows=2, columns=40)
    cache.used = 9
    first = engine.read(cache, prompts)
    read = [len(prompts[0]), len(prompts[1])]
    for row in (0, 1):
        expected = theirs(tokens[row : row + 1, : read[row]]).logits[0, -1]
        torch.testing.assert_close(first[row], expected, atol=1e-4, rtol=0)
    for step in range(8):
        following = torch.stack([tokens[row, read[row] + step] for row in (0, 1)])
        found = engine.step(cache, following)
        for row in (0, 1):
            expected = theirs(tokens[row : row + 1, : read[row] + step + 1]).logits[0, -1]
            torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen2 tied"])
def test_several_files_with_an_index_are_read(name, tmp_path):
    theirs = made(name)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    agree(load_model(tmp_path), theirs)


def test_bf16_weights_are_read_exactly(tmp_path):
    made("qwen2").bfloat16().save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    kind = transformers.AutoModelForCausalLM
    agree(model, kind.from_pretrained(tmp_path, dtype=torch.float32))


def test_fields_as_transformers_4_writes_them_are_read(tmp_path):
    theirs = made("llama 3.1")
    theirs.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    scaling = fields.pop("rope_parameters")
    fields["rope_theta"] = scaling.pop("rope_theta")
    change(tmp_path, **fields, rope_parameters=None, rope_scaling=scaling)
    agree(load_model(tmp_path), theirs)
    change(tmp_path, rope_scaling={"type": "linear", "factor": 2.0})
    assert read_config(tmp_path).rope_scaling == RopeScaling("linear", 2.0)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mistral", {"sliding_window": 12}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
    ],
)
def test_the_context_ends_where_a_sliding_window_would_begin_to_matter(name, fields, tmp_path):
    theirs = made(name, **fields)
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.config.context == 12
    agree(model, theirs, length=12)
    long = some_tokens(3, 40)
    full = made(name, **fields | {"sliding_window": None, "use_sliding_window": False})
    with torch.no_grad():  # the window does matter beyond it
        assert (theirs(long).logits - full(long).logits).abs().max() > 0.1


def change(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "gemma3"}, "opens qwen3, qwen2, llama, mistral"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "default, dynamic, linear and"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor"),
        ({"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "high_freq_factor"),
        ({"rope_parameters": "default"}, "rotary positions"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantized"),
    ],
)
def test_what_we_lack_is_told(fields, said, tmp_path):
    made("llama").save_pretrained(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(InputError, match=r"config\.json") as error:
        load_model(tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_biases_of_qwen2_are_missed(tmp_path):
    made("qwen2").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.self_attn.k_proj.bias"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.1\.self_attn\.k_proj\.bias"):
        load_model(tmp_path)
