"""A folder with an adapter is opened with its base, and with no other."""

import json

import pytest
import torch
from made_adapted import make_adapted, make_folder
from made_decoder import CONFIGS, randomized

from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, write_config, write_weights
from xunlian.models.adapter import adapted_layers
from xunlian.runs.adapted import fingerprint
from xunlian.runs.load import load_run


@pytest.fixture
def adapted(tmp_path):
    return make_adapted(tmp_path)


def refused(path):
    with pytest.raises(InputError) as error:
        load_run(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_verb_gets_base_and_adapter_as_one_model(adapted):
    run, model = adapted
    loaded = load_run(run.path)
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model.logits(tokens), model.logits(tokens), atol=1e-4, rtol=1e-4
        )
    assert not adapted_layers(loaded.model) and not loaded.model.training


def test_a_longer_context_than_that_of_the_base_is_kept(adapted):
    run, _ = adapted
    file = run.model_folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 48}))
    assert load_run(run.path).model.config.context == 48


def test_another_base_is_refused(adapted, tmp_path):
    run, _ = adapted
    other = randomized(CONFIGS["qwen3"], seed=8)
    write_weights(tmp_path / "base" / "model.safetensors", other)
    assert "other weights than those now in" in refused(run.path)


def test_a_base_of_another_shape_is_refused(adapted, tmp_path):
    run, _ = adapted
    other = randomized(CONFIGS["qwen3 grouped"])
    write_config(tmp_path / "base", other.config, 3)
    write_weights(tmp_path / "base" / "model.safetensors", other)
    assert "other weights than those now in" in refused(run.path)


def test_a_base_that_moved_is_found_where_the_mend_says(adapted, tmp_path):
    run, _ = adapted
    (tmp_path / "base").rename(tmp_path / "moved")
    message = refused(run.path)
    assert "which is not there" in message and "base_model_name_or_path" in message
    file = run.model_folder / "adapter_config.json"
    fields = json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "moved")}
    file.write_text(json.dumps(fields))
    load_run(run.path)


def test_an_adapter_that_is_not_yet_saved_is_told(adapted):
    run, _ = adapted
    (run.model_folder / "adapter_model.safetensors").unlink()
    assert "has no model yet" in refused(run.path)


def test_the_fingerprint_is_of_the_weights_not_of_their_files(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make_folder(tmp_path / "one")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="50KB")
    assert (tmp_path / "many" / "model.safetensors.index.json").exists()
    assert fingerprint(load_model(tmp_path / "many")) == fingerprint(model)
    with torch.no_grad():
        model.blocks[1].mlp.up.weight[0, 0] += 1e-3
    assert fingerprint(model) != fingerprint(load_model(tmp_path / "one"))
