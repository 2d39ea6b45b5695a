"""Folders of the speedrun decoder: ours come back, other engines refuse them by their name."""

import json
from dataclasses import replace

import pytest
import torch
from made_decoder import CONFIGS, randomized

from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, read_config, write_config, write_weights
from xunlian.models.speedrun import Speedrun


@pytest.fixture
def folder(tmp_path):
    model = randomized(replace(CONFIGS["speedrun"], rope_theta=5000.0, norm_epsilon=1e-5))
    write_config(tmp_path, model.config, 3)
    write_weights(tmp_path / "model.safetensors", model)
    return tmp_path, model


@torch.no_grad()
def test_a_folder_comes_back(folder):
    path, model = folder
    assert read_config(path) == model.config
    again = load_model(path)
    assert isinstance(again, Speedrun)
    tokens = torch.arange(24).unsqueeze(0)
    assert torch.equal(again.logits(tokens), model.logits(tokens))


def test_transformers_refuses_it_by_its_name(folder):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="model type `xunlian-speedrun`"):
        transformers.AutoModelForCausalLM.from_pretrained(folder[0])


def test_ctranslate2_refuses_it_by_its_name(folder):
    converters = pytest.importorskip("ctranslate2.converters")
    with pytest.raises(ValueError, match="xunlian-speedrun"):
        converters.TransformersConverter(str(folder[0])).convert(str(folder[0] / "converted"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "xunlian-speedrum"}, "Did you mean 'xunlian-speedrun'"),
        ({"num_hidden_layers": 4}, "lacks the tensor"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3"),
        ({"vocab_size": 62}, "embedding.weight has shape (61, 48)"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(folder, fields, said):
    file = folder[0] / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    with pytest.raises(InputError) as error:
        load_model(folder[0])
    assert said in str(error.value)
