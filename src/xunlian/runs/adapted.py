"""A run that trained an adapter: its base model, and the two merged.

RUN/model then holds, beside configuration and tokenizer,

    adapter_config.json  adapter_model.safetensors  base.json

The base lies where adapter_config.json says, as PEFT has it. base.json holds a checksum of the
base's weights: with others the adapter would only make noise.
"""

import hashlib
from pathlib import Path

from xunlian.errors import InputError
from xunlian.files import read_json, write_json
from xunlian.interop.adapters import (
    CONFIG_FILE,
    adapt,
    read_adapter,
    read_adapter_config,
)
from xunlian.interop.huggingface import Model, load_model, read_config
from xunlian.interop.names import entries, to_theirs
from xunlian.models.adapter import merge_adapters

BASE_FILE = "base.json"


def fingerprint(model: Model) -> str:
    """SHA-256 of all weights in fp32 with their names in Transformers, however they are stored."""
    weights, digest = model.state_dict(), hashlib.sha256()
    for entry in entries(model.config):
        tensor = to_theirs(entry, weights)
        digest.update(f"{entry.theirs} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def write_base(folder: Path, base_fingerprint: str) -> None:
    write_json(folder / BASE_FILE, {"weights_sha256": base_fingerprint})


def load_base(folder: Path, *, context: int | None = None, dropout: float = 0.0) -> Model:
    """The model that the adapter of a model folder was trained on, in fp32.

    `context` and `dropout` as in `load_model`; by default it reads what the folder says.

    Raises:
        InputError: it is not where it was, or has other weights now.
    """
    _, path = read_adapter_config(folder)
    if not path.is_dir():
        raise InputError(
            f"'{folder}' is an adapter of the model '{path}', which is not there. Put it back, or "
            f"write in '{folder / CONFIG_FILE}' where it is now (base_model_name_or_path)."
        )
    config = read_config(folder)
    base = load_model(path, context=context or config.context, dropout=dropout)
    known = read_json(folder / BASE_FILE)
    if not isinstance(known, dict) or known.get("weights_sha256") != fingerprint(base):
        raise InputError(
            f"'{folder}' is an adapter of other weights than those now in '{path}'. Write in "
            f"'{folder / CONFIG_FILE}' where its base is (base_model_name_or_path)."
        )
    return base


def load_merged(folder: Path, *, context: int | None = None, dropout: float = 0.0) -> Model:
    """Base and adapter of a model folder as one model, in fp32, ready for evaluation.

    `context` and `dropout` as in `load_base`.

    Raises:
        InputError: as `load_base`, or the adapter's files are damaged.
    """
    settings, _ = read_adapter_config(folder)
    model = load_base(folder, context=context, dropout=dropout)
    adapt(model, settings, seed=0)
    read_adapter(folder, model)
    merge_adapters(model)
    return model.eval()
