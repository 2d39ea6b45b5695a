"""Model folders: Transformers opens ours, we open theirs, logits agree; bad folders are told."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from xunlian.errors import InputError
from xunlian.interop.huggingface import (
    load_model,
    read_config,
    read_end_ids,
    write_config,
    write_weights,
)
from xunlian.models.decoder import Decoder, DecoderConfig

transformers = pytest.importorskip("transformers")

QWEN3 = {
    "architecture": "qwen3",
    "vocab_size": 61,
    "depth": 2,
    "width": 48,
    "heads": 4,
    "kv_heads": 2,
    "head_width": 16,
    "mlp_width": 80,
    "context": 24,
    "tied": False,
    "rope_theta": 5000.0,
    "norm_epsilon": 1e-5,
}
GPT2 = {
    "architecture": "gpt2",
    "vocab_size": 61,
    "depth": 2,
    "width": 48,
    "heads": 4,
    "kv_heads": 4,
    "head_width": 12,
    "mlp_width": 100,
    "context": 24,
    "tied": True,
}
CONFIGS = {
    "qwen3": DecoderConfig(**QWEN3),
    "qwen3 tied, no grouped queries": DecoderConfig(**QWEN3 | {"tied": True, "kv_heads": 4}),
    "gpt2": DecoderConfig(**GPT2),
    "gpt2 untied": DecoderConfig(**GPT2 | {"tied": False}),
}


def randomize(model):
    """Give every weight, norms and biases too, a value that matters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.2 * noise)
    return model.eval()


def write(folder, config, end_id=3):
    model = randomize(Decoder(config))
    write_config(folder, config, end_id)
    write_weights(folder / "model.safetensors", model)
    return model


def some_tokens(config):
    generator = torch.Generator().manual_seed(8)
    return torch.randint(config.vocab_size, (3, config.context), generator=generator)


def logits_agree(ours, theirs):
    tokens = some_tokens(ours.config)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_gives_our_logits_from_our_folder(name, tmp_path):
    model = write(tmp_path, CONFIGS[name])
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values()), report
    assert theirs.dtype == torch.float32
    assert theirs.config.eos_token_id == theirs.generation_config.eos_token_id == 3
    logits_agree(model, theirs)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_comes_back_with_the_same_weights(name, tmp_path):
    model = write(tmp_path, CONFIGS[name])
    assert read_config(tmp_path) == CONFIGS[name]
    assert read_end_ids(tmp_path) == (3,)
    again = load_model(tmp_path)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_we_give_transformers_logits_from_its_folder(name, shard_size, tmp_path):
    config = CONFIGS[name]
    if config.is_gpt2:
        theirs = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=61,
                n_embd=48,
                n_layer=2,
                n_head=4,
                n_positions=24,
                n_inner=100,
                tie_word_embeddings=config.tied,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
    else:
        theirs = transformers.Qwen3ForCausalLM(
            transformers.Qwen3Config(
                vocab_size=61,
                hidden_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=config.kv_heads,
                head_dim=16,
                intermediate_size=80,
                max_position_embeddings=24,
                tie_word_embeddings=config.tied,
                rms_norm_eps=1e-5,
                rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            )
        )
    randomize(theirs).save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    logits_agree(load_model(tmp_path), theirs)


def test_fields_as_transformers_4_writes_them_are_read(tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    change(tmp_path, rope_parameters=None, dtype=None, rope_scaling=None)
    assert read_config(tmp_path) == CONFIGS["qwen3"]


def test_gpt2_tensors_without_prefix_and_with_old_masks_are_read(tmp_path):
    model = write(tmp_path, CONFIGS["gpt2"])
    file = tmp_path / "model.safetensors"
    bare = {name.removeprefix("transformer."): t for name, t in load_file(file).items()}
    bare |= {"h.0.attn.bias": torch.ones(24, 24), "h.0.attn.masked_bias": torch.zeros(1)}
    save_file(bare, file, metadata={"format": "pt"})
    logits_agree(model, lambda t: type("Out", (), {"logits": load_model(tmp_path).logits(t)}))


def test_bf16_weights_are_read_as_fp32(tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    file = tmp_path / "model.safetensors"
    save_file({n: t.bfloat16() for n, t in load_file(file).items()}, file)
    assert {t.dtype for t in load_model(tmp_path).state_dict().values()} == {torch.float32}


def test_loading_leaves_the_random_state_alone(tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    before = torch.get_rng_state()
    load_model(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def change(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "mamba"}, "'mamba'"),
        ({"model_type": "qwen4"}, "Did you mean 'qwen3'"),
        ({"hidden_size": None}, "lacks the field hidden_size"),
        ({"hidden_size": "wide"}, "hidden_size = 'wide'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings = 1000000000000"),
        ({"hidden_size": 1 << 24, "intermediate_size": 1 << 24}, "not enough memory"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3"),
        ({"attention_bias": True}, "attention_bias"),
        ({"use_sliding_window": True, "sliding_window": -1}, "sliding_window"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"vocab_size": 62}, "model.embed_tokens.weight has shape (61, 48)"),
        ({"num_hidden_layers": 3}, "lacks the tensor model.layers.2."),
        ({"num_hidden_layers": 1}, "holds the tensor model.layers.1."),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(fields, said, tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    change(tmp_path, **fields)
    with pytest.raises(InputError) as error:
        load_model(tmp_path)
    assert said in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_configuration_is_told(damage, tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    (tmp_path / "config.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"config\.json.*damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 1000, -7])
def test_damaged_weights_are_told(keep, tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors.*damaged"):
        load_model(tmp_path)


def test_missing_weights_and_shards_are_told(tmp_path):
    write(tmp_path, CONFIGS["qwen3"])
    (tmp_path / "model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no weights"):
        load_model(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "model-1.safetensors"}}))
    with pytest.raises(InputError, match=r"model-1\.safetensors' is missing"):
        load_model(tmp_path)
    index.write_text("{}")
    with pytest.raises(InputError, match="weight_map"):
        load_model(tmp_path)


def test_pickled_weights_are_refused_with_the_mend(tmp_path):
    model = write(tmp_path, CONFIGS["qwen3"])
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled.*save_pretrained"):
        load_model(tmp_path)


def test_half_written_weights_never_stand_under_the_real_name(tmp_path, monkeypatch):
    write(tmp_path, CONFIGS["qwen3"])
    before = (tmp_path / "model.safetensors").read_bytes()
    names = sorted(p.name for p in tmp_path.iterdir())

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(Exception, match="disk is full"):
        write_weights(tmp_path / "model.safetensors", randomize(Decoder(CONFIGS["gpt2"])))
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_another_models_weights_are_told(tmp_path):
    write(tmp_path / "a", CONFIGS["qwen3"])
    write(tmp_path / "b", CONFIGS["gpt2"])
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    with pytest.raises(InputError, match="do not belong together"):
        load_model(tmp_path / "a")
