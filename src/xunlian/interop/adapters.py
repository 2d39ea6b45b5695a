"""Adapters as PEFT keeps them, so that `peft` opens what is trained here.

    adapter_config.json  adapter_model.safetensors

Which layers share one adapter follows from the tensors of the base model's class (names.py): GPT-2
joins query, key and value in one matrix, so they share the first small one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xunlian.errors import InputError, did_you_mean
from xunlian.files import atomic_path, read_json, write_json
from xunlian.interop.config import Config
from xunlian.interop.huggingface import Model
from xunlian.interop.names import Entry, entries
from xunlian.interop.tensors import write_tensors
from xunlian.models.adapter import adapted_layers, add_adapters, quantize_blocks
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import RecurrentConfig
from xunlian.recipe.adapter import ALL_LINEAR, Adapter

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter instead of whole weights."""
    return (folder / CONFIG_FILE).is_file()


def adapt(model: Model, settings: Adapter, seed: int) -> None:
    """Put adapters into the matrices that `settings` name; they change nothing yet.

    With `settings.frozen` the matrices of all blocks are quantized first.

    Raises:
        InputError: the network has no such matrix, or is of a kind that PEFT does not know.
    """
    config = model.config
    if isinstance(config, RecurrentConfig) or config.architecture == "speedrun":
        raise InputError(
            "[adapter] needs a network that PEFT knows; this one only Xunlian opens. Leave "
            "[adapter] out to train all of it."
        )
    known = {_last(entry): None for entry in _linear(config)}
    for name in settings.targets:
        if name != ALL_LINEAR and name not in known:
            raise InputError(
                f"adapter.targets: this model has no matrix '{name}'."
                f"{did_you_mean(name, [*known, ALL_LINEAR])} It has {', '.join(known)}; or say "
                f"{ALL_LINEAR}."
            )
    if settings.frozen:
        quantize_blocks(model.blocks, settings.frozen)
    add_adapters(
        model,
        [_layers(entry) for entry in _targeted(config, settings.targets)],
        rank=settings.rank,
        scale=settings.scale,
        dropout=settings.dropout,
        with_lengths=settings.kind == "dora",
        generator=torch.Generator().manual_seed(seed),
    )


def write_adapter_config(folder: Path, config: Config, settings: Adapter, base: Path) -> None:
    """Write adapter_config.json for an adapter of the model in `base`."""
    chosen = _targeted(config, settings.targets)
    pairs = isinstance(config, EncoderDecoderConfig)
    fields = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM" if pairs else "CAUSAL_LM",
        "base_model_name_or_path": str(base.resolve()),
        "r": settings.rank,
        "lora_alpha": settings.scale * settings.rank,
        "lora_dropout": settings.dropout,
        "use_dora": settings.kind == "dora",
        "target_modules": list({_last(entry): None for entry in chosen}),
        "fan_in_fan_out": any(entry.transposed for entry in chosen),
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / CONFIG_FILE, fields)


def write_adapter(file: Path, model: Model) -> None:
    """Write the adapters of `model` in fp32 under PEFT's names, whole or not at all."""
    layers, tensors = adapted_layers(model), {}
    for entry in _linear(model.config):
        found = [layers[name] for name in _layers(entry) if name in layers]
        if not found:
            continue
        tensors[f"{_place(entry)}.lora_A.weight"] = _kept([found[0].down])
        tensors[f"{_place(entry)}.lora_B.weight"] = _kept([a.up for a in found])
        lengths = [a.magnitude for a in found if a.magnitude is not None]
        if lengths:
            tensors[f"{_place(entry)}.lora_magnitude_vector"] = _kept(lengths)
    with atomic_path(file) as out:
        write_tensors(out, tensors, {"format": "pt"})


@torch.no_grad()
def read_adapter(folder: Path, model: Model) -> None:
    """Fill the adapters of `model` with the weights of a folder.

    Raises:
        InputError: a file is missing, damaged, or for a network of another shape.
    """
    layers, file = adapted_layers(model), folder / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{file}' is missing, damaged or no safetensors file ({error}). Copy it again."
        ) from error

    def take(name: str, into: Sequence[Tensor]) -> None:
        tensor, rows = tensors.get(name), sum(len(part) for part in into)
        if tensor is None or tuple(tensor.shape) != (rows, *into[0].shape[1:]):
            raise InputError(
                f"'{file}' has no tensor {name} of shape {(rows, *into[0].shape[1:])}, which the "
                "base model asks for. The files do not belong together; copy them again."
            )
        for part, values in zip(into, tensor.split([len(part) for part in into]), strict=True):
            part.copy_(values)

    for entry in _linear(model.config):
        found = [layers[name] for name in _layers(entry) if name in layers]
        if found:
            take(f"{_place(entry)}.lora_A.weight", [found[0].down])
            take(f"{_place(entry)}.lora_B.weight", [a.up for a in found])
            lengths = [a.magnitude for a in found if a.magnitude is not None]
            if lengths:
                take(f"{_place(entry)}.lora_magnitude_vector", lengths)


def read_adapter_config(folder: Path) -> tuple[Adapter, Path]:
    """What adapter_config.json says, and where the base model lies.

    Raises:
        InputError: it is damaged.
    """
    file = folder / CONFIG_FILE
    fields: Any = read_json(file)
    try:
        settings = Adapter(
            kind="dora" if fields["use_dora"] else "lora",
            rank=fields["r"],
            alpha=fields["lora_alpha"],
            dropout=fields["lora_dropout"],
            targets=tuple(fields["target_modules"]),
        )
        return settings, Path(fields["base_model_name_or_path"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{file}' is damaged ({str(error).splitlines()[0]}).") from error


def _linear(config: Config) -> list[Entry]:
    """The matrices of the blocks."""
    outside = ("embedding", "head", "values")
    return [
        entry
        for entry in entries(config)
        if entry.ours[0].endswith(".weight")
        and not entry.ours[0].startswith(outside)
        and not entry.ours[0].endswith(("norm.weight", "positions.weight"))
    ]


def _targeted(config: Config, targets: Sequence[str]) -> list[Entry]:
    return [e for e in _linear(config) if ALL_LINEAR in targets or _last(e) in targets]


def _layers(entry: Entry) -> list[str]:
    return [name.removesuffix(".weight") for name in entry.ours]


def _place(entry: Entry) -> str:
    return f"base_model.model.{entry.theirs.removesuffix('.weight')}"


def _last(entry: Entry) -> str:
    """'model.layers.0.self_attn.q_proj.weight' -> 'q_proj'."""
    return entry.theirs.split(".")[-2]


def _kept(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)).detach().to("cpu", torch.float32).contiguous()
