"""A run that trained an adapter, made by hand, and its base."""

import shutil

import torch
from made_decoder import CONFIGS, randomized

from xunlian.interop.adapters import adapt, write_adapter, write_adapter_config
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.models.adapter import adapted_layers
from xunlian.recipe import Recipe
from xunlian.recipe.adapter import Adapter
from xunlian.runs.adapted import fingerprint, write_base
from xunlian.runs.folder import create_run
from xunlian.tokenizer.train import train_tokenizer

SETTINGS = Adapter(rank=2)


def make_folder(folder):
    """A model folder with a tokenizer of a few letters."""
    model = randomized(CONFIGS["qwen3"])
    write_config(folder, model.config, 3)
    write_weights(folder / "model.safetensors", model)
    texts = [" ".join(chr(97 + n % 26) * (n % 7 + 1) for n in range(300))]
    train_tokenizer(iter(texts), "wordpiece", 61, shrink=True).save(folder)
    return model


def make_adapted(folder):
    """(run, its network with base and adapter apart); the base is in 'base'."""
    base = folder / "base"
    model = make_folder(base)
    run = create_run(folder / "run", Recipe())
    shutil.copytree(base, run.model_folder, ignore=shutil.ignore_patterns("model.safetensors"))
    write_base(run.model_folder, fingerprint(model))
    adapt(model, SETTINGS, seed=1)
    with torch.no_grad():
        for adapter in adapted_layers(model).values():
            adapter.up.add_(0.1)
    write_adapter_config(run.model_folder, model.config, SETTINGS, base)
    write_adapter(run.model_folder / "adapter_model.safetensors", model)
    return run, model
