"""GGUF, the file of llama.cpp and what is built on it (Ollama, LM Studio): written, and read back.

One file holds shape, weights and tokenizer. Matrices are stored in the type asked for; norms,
biases and positions, which are few, in fp32.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xunlian.corpus.extras import need
from xunlian.errors import InputError
from xunlian.interop.gguf_tokenizer import tokenizer_fields
from xunlian.interop.names import Entry, entries, from_theirs, to_theirs
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.tokenizer.tokenizer import Tokenizer

TYPES = ("f16", "q8_0", "f32")
Type = Literal["f16", "q8_0", "f32"]
ARCHITECTURES = ("qwen3", "gpt2")
"""Ours that llama.cpp has, under the same names."""

_BLOCK = 32  # numbers that share a scale in q8_0


def write_gguf(
    file: Path, model: Decoder, tokenizer: Tokenizer, folder: Path, name: str, type_: Type
) -> None:
    """Write `model` to `file`, with its tokenizer, which stands in `folder`.

    Raises:
        InputError: the library `gguf` is missing, or llama.cpp has no such tokenizer.
    """
    gguf, config = need("gguf", "gguf"), model.config
    writer = gguf.GGUFWriter(file, config.architecture)
    writer.add_name(name)
    kinds = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "f32": "ALL_F32"}
    writer.add_file_type(gguf.LlamaFileType[kinds[type_]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in _shape(config).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{config.architecture}.{key}", value)
    _add_tokenizer(writer, tokenizer, folder, config.vocab_size)
    weights = model.state_dict()
    for name, entry in _entries(config):
        values = to_theirs(entry, weights).numpy()
        kind = gguf.GGMLQuantizationType[_type_of(name, values, type_).upper()]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(file: Path) -> Decoder:
    """The model of a file, in fp32, ready for evaluation.

    Raises:
        InputError: the library `gguf` is missing, or the file holds another architecture.
    """
    gguf = need("gguf", "gguf")
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    architecture = fields["general.architecture"]
    if architecture not in ARCHITECTURES:
        raise InputError(f"'{file}' holds a {architecture}; Xunlian reads {ARCHITECTURES}.")
    config = _config(fields, tied="output.weight" not in tensors)
    model = Decoder(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, entry in _entries(config):
        tensor = tensors.pop(name)
        values = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        weights |= from_theirs(entry, torch.from_numpy(values), shapes)
    assert not tensors, f"no place for {sorted(tensors)}"
    model.load_state_dict(weights)
    return model.eval()


def _shape(config: DecoderConfig) -> dict[str, int | float]:
    """The fields that fix the network, without the architecture's name before them."""
    shape: dict[str, int | float] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.depth,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
    }
    if config.is_gpt2:
        return shape | {"attention.layer_norm_epsilon": config.norm_epsilon}
    return shape | {
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
        "attention.layer_norm_rms_epsilon": config.norm_epsilon,
        "rope.freq_base": config.rope_theta,
    }


def _config(fields: Mapping[str, Any], tied: bool) -> DecoderConfig:
    architecture = fields["general.architecture"]
    of = {name.removeprefix(f"{architecture}."): value for name, value in fields.items()}
    width, heads = of["embedding_length"], of["attention.head_count"]
    epsilon = of.get("attention.layer_norm_epsilon") or of["attention.layer_norm_rms_epsilon"]
    return DecoderConfig(
        architecture=architecture,
        vocab_size=of["vocab_size"],
        depth=of["block_count"],
        width=width,
        heads=heads,
        kv_heads=of.get("attention.head_count_kv", heads),
        head_width=of.get("attention.key_length", width // heads),
        mlp_width=of["feed_forward_length"],
        context=of["context_length"],
        tied=tied,
        rope_theta=of.get("rope.freq_base", 10_000.0),
        norm_epsilon=epsilon,
    )


def _entries(config: DecoderConfig) -> Iterator[tuple[str, Entry]]:
    """GGUF's name of each tensor, and what it is made of; outputs come first in all matrices."""
    gguf = need("gguf", "gguf")
    architecture = gguf.MODEL_ARCH[config.architecture.upper()]
    names = gguf.get_tensor_name_map(architecture, config.depth)
    for entry in entries(config):
        name = names.get_name(entry.theirs, try_suffixes=(".weight", ".bias"))
        assert name is not None, entry.theirs
        yield name, replace(entry, transposed=False)


def _type_of(name: str, values: np.ndarray, wanted: Type) -> Type:
    if values.ndim == 1 or name.startswith("position_embd"):
        return "f32"
    if wanted == "q8_0" and values.shape[-1] % _BLOCK:
        return "f16"  # rows that cannot be cut into blocks
    return wanted


def _add_tokenizer(writer: Any, tokenizer: Tokenizer, folder: Path, rows: int) -> None:
    fields = tokenizer_fields(tokenizer, folder, rows)
    writer.add_tokenizer_model(fields.model)
    writer.add_tokenizer_pre(fields.pre)
    writer.add_token_list(fields.tokens)
    writer.add_token_types(fields.kinds)
    if fields.merges is not None:
        writer.add_token_merges(fields.merges)
    if fields.scores is not None:
        writer.add_token_scores(fields.scores)
        writer.add_add_space_prefix(False)
    writer.add_bos_token_id(fields.start_id)
    writer.add_eos_token_id(tokenizer.end_id)
    if tokenizer.pad_id is not None:
        writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_add_bos_token(fields.add_start)
    writer.add_add_eos_token(fields.add_end)
    if fields.chat_template is not None:
        writer.add_chat_template(fields.chat_template)
