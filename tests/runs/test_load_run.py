"""From a run or a Hugging Face folder to a model in use, or one sentence on what is wrong."""

import shutil

import pytest
import torch
from made_decoder import CONFIGS, randomized

from xunlian.errors import InputError
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.recipe import Recipe
from xunlian.recipe.settings import Decoding
from xunlian.runs.folder import create_run
from xunlian.runs.load import is_run, load_folder, load_run
from xunlian.tokenizer.train import train_tokenizer


def make_folder(folder, end_id=3, vocab=61):
    """A model folder whose tokenizer has a few letters only."""
    folder.mkdir(parents=True, exist_ok=True)
    model = randomized(CONFIGS["qwen3"])
    write_config(folder, model.config, end_id)
    write_weights(folder / "model.safetensors", model)
    texts = [" ".join(chr(97 + n % 26) * (n % 7 + 1) for n in range(300))]
    train_tokenizer(iter(texts), "wordpiece", vocab, shrink=True).save(folder)
    return model


@pytest.fixture
def run(tmp_path):
    recipe = Recipe(decoding=Decoding(temperature=0.3, stop=("\n",)))
    made = create_run(tmp_path / "tales-1", recipe)
    make_folder(made.model_folder)
    return made


def test_a_run_is_loaded_with_its_own_settings(run):
    loaded = load_run(run.path)
    assert loaded.folder == run.model_folder
    assert loaded.decoding == run.recipe.decoding
    expected = randomized(CONFIGS["qwen3"]).state_dict()
    for key, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    assert not loaded.model.training
    assert loaded.end_ids == {3, loaded.tokenizer.end_id} and loaded.tokenizer.end_id != 3


def test_a_model_folder_is_loaded_with_the_usual_settings(run, tmp_path):
    folder = shutil.copytree(run.model_folder, tmp_path / "elsewhere")
    assert not is_run(folder) and is_run(run.path)
    assert load_folder(folder) == folder
    assert load_run(str(folder)).decoding == Decoding()


def refused(path):
    with pytest.raises(InputError) as error:
        load_run(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_a_folder_that_is_neither_is_told(run, tmp_path):
    assert "Did you mean" in refused(tmp_path / "tales-2")
    (tmp_path / "empty").mkdir()
    assert "no recipe.toml" in refused(tmp_path / "empty")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text("{}")
    assert "is a corpus, not a run" in refused(tmp_path / "corpus")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_run_that_has_saved_no_model_is_told(name, run):
    (run.model_folder / name).unlink()
    assert "has no model yet" in refused(run.path)


def test_a_damaged_or_missing_tokenizer_is_told(run):
    (run.model_folder / "tokenizer.json").write_text('{"model": ')
    assert "tokenizer.json' is damaged" in refused(run.path)
    (run.model_folder / "tokenizer.json").unlink()
    assert "No tokenizer" in refused(run.path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_told(run):
    train_tokenizer(iter([]), "byte", 257).save(run.model_folder)
    assert "257 tokens but the model only 61" in refused(run.path)
