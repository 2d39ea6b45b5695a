"""Model folders of recurrent networks: what is written is opened again; bad ones are told."""

import json

import pytest
import torch
from made_recurrent import END, FAMILIES, START, randomized

from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, write_config, write_weights


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pairs", [False, True])
def test_a_folder_gives_the_same_network_back(family, pairs, tmp_path):
    model = randomized(family, pairs)
    write_config(tmp_path, model.config, END, START)
    write_weights(tmp_path / "model.safetensors", model)
    found = load_model(tmp_path)
    assert found.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    fields = json.loads((tmp_path / "config.json").read_text())
    assert fields["model_type"] == f"xunlian-{family}"
    assert fields["decoder_start_token_id"] == (START if pairs else None)


def test_a_folder_of_another_shape_is_refused(tmp_path):
    model = randomized("lstm")
    write_config(tmp_path, model.config, END, START)
    write_weights(tmp_path / "model.safetensors", model)
    config = tmp_path / "config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps(fields | {"hidden_size": 32}))
    with pytest.raises(InputError, match="has shape"):
        load_model(tmp_path)
    config.write_text(json.dumps(fields | {"model_type": "xunlian-lstn"}))
    with pytest.raises(InputError, match="Did you mean"):
        load_model(tmp_path)
