"""GGUF, the file of llama.cpp and what is built on it (Ollama, LM Studio): written, and read back.

One file holds shape, weights and tokenizer. Matrices are stored in the type asked for; norms,
biases and positions, which are few, in fp32. A Llama of llama.cpp turns pairs of neighbours where
ours turns the two halves of a head, so the rows of its queries and keys stand in another order.
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
from xunlian.models.layers import RopeScaling, angle_table, rotary_frequencies
from xunlian.tokenizer.tokenizer import Tokenizer

TYPES = ("f16", "q8_0", "f32")
Type = Literal["f16", "q8_0", "f32"]
ARCHITECTURES = {
    "qwen3": "qwen3",
    "qwen2": "qwen2",
    "llama": "llama",
    "mistral": "llama",
    "gpt2": "gpt2",
}
"""Ours that llama.cpp has, and what it calls them."""

_FACTORS = "rope_freqs.weight"
"""By how much each rotary angle is slowed down: llama.cpp reads it of a Llama only."""

_BLOCK = 32  # numbers that share a scale in q8_0


def write_gguf(
    file: Path, model: Decoder, tokenizer: Tokenizer, folder: Path, name: str, type_: Type
) -> None:
    """Write `model` to `file`, with its tokenizer, which stands in `folder`.

    Raises:
        InputError: the library `gguf` is missing, or llama.cpp has no such tokenizer or rotary
            positions or heads.
    """
    gguf, config = need("gguf", "gguf"), model.config
    architecture, factors = ARCHITECTURES[config.architecture], _factors(config)
    _check(config, folder)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name(name)
    kinds = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "f32": "ALL_F32"}
    writer.add_file_type(gguf.LlamaFileType[kinds[type_]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in _shape(config).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{architecture}.{key}", value)
    if config.rope_scaling and config.rope_scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling.factor)
    _add_tokenizer(writer, tokenizer, folder, config.vocab_size)
    weights = model.state_dict()
    if factors is not None:
        writer.add_tensor(_FACTORS, factors.numpy())
    for name, entry in _entries(config):
        tensor = to_theirs(entry, weights)
        if _is_turned(name, config):
            tensor = _as_neighbours(tensor, config.head_width)
        values = tensor.numpy()
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
        raise InputError(
            f"'{file}' holds a {architecture}; Xunlian reads {', '.join(ARCHITECTURES)}."
        )
    config = _config(fields, tied="output.weight" not in tensors)
    model = Decoder(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, entry in _entries(config):
        tensor = tensors.pop(name)
        values = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        read = torch.from_numpy(values)
        if _is_turned(name, config):
            read = _as_halves(read, config.head_width)
        weights |= from_theirs(entry, read, shapes)
    if (factors := tensors.pop(_FACTORS, None)) is not None:
        frequencies = rotary_frequencies(config.head_width, config.rope_theta)
        slowed = frequencies / torch.from_numpy(np.array(factors.data))
        model.cos, model.sin = angle_table(config.context, slowed)
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
        "rope.dimension_count": config.head_width,
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
        rope_scaling=RopeScaling("linear", of["rope.scaling.factor"])
        if of.get("rope.scaling.type") == "linear"
        else None,
    )


def _check(config: DecoderConfig, folder: Path) -> None:
    """Raises InputError for what llama.cpp has of other architectures only."""
    theirs, lacks = ARCHITECTURES[config.architecture], None
    if _factors(config) is not None and theirs != "llama":
        lacks = "rotary positions of the kind llama3"
    elif theirs == "qwen2" and config.heads * config.head_width != config.width:
        lacks = f"{config.heads} heads of width {config.head_width} in a width of {config.width}"
    if lacks:
        raise InputError(
            f"'{folder}' is a {config.architecture} with {lacks}, which llama.cpp does not have. "
            "Export it to ctranslate2 or onnx."
        )


def _factors(config: DecoderConfig) -> Tensor | None:
    """(K / 2), where angles are slowed down by more than one factor."""
    if config.rope_scaling is None or config.rope_scaling.kind == "linear":
        return None
    plain = rotary_frequencies(config.head_width, config.rope_theta)
    return plain / config.rope_scaling.slowed(plain)


def _is_turned(name: str, config: DecoderConfig) -> bool:
    llama = ARCHITECTURES[config.architecture] == "llama"
    return llama and name.endswith(("attn_q.weight", "attn_k.weight"))


def _as_neighbours(weight: Tensor, head_width: int) -> Tensor:
    """Rows k and k + K/2 of each head become 2k and 2k + 1. (H K, D) -> (H K, D)"""
    halves = weight.unflatten(0, (-1, 2, head_width // 2))
    return halves.transpose(1, 2).reshape(weight.shape)


def _as_halves(weight: Tensor, head_width: int) -> Tensor:
    pairs = weight.unflatten(0, (-1, head_width // 2, 2))
    return pairs.transpose(1, 2).reshape(weight.shape)


def _entries(config: DecoderConfig) -> Iterator[tuple[str, Entry]]:
    """GGUF's name of each tensor, and what it is made of; outputs come first in all matrices."""
    gguf = need("gguf", "gguf")
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[config.architecture].upper()]
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
        writer.add_add_space_prefix(fields.space_first)
    writer.add_bos_token_id(fields.start_id)
    writer.add_eos_token_id(tokenizer.end_id)
    if tokenizer.pad_id is not None and tokenizer.pad_id < rows:
        writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_add_bos_token(fields.add_start)
    writer.add_add_eos_token(fields.add_end)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)
    if fields.turn_end_id not in (None, tokenizer.end_id):
        writer.add_eot_token_id(fields.turn_end_id)
