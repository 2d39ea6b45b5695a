"""Which tensor of ours is which of Transformers', for each architecture.

A table per architecture; everything else is derived from it. GPT-2 keeps its matrices transposed
(inputs first) and joins query, key and value in one. The encoder-decoders share their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xunlian.interop.config import Config
from xunlian.models.decoder import DecoderConfig
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.positions import sinusoidal_table
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.models.speedrun import Speedrun


@dataclass(frozen=True)
class Entry:
    """One tensor of theirs, made of one or more of ours joined along the outputs."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False


# Our module -> theirs, without the number of the block. Llama's names serve all rotary decoders.
_ROTARY = {"embedding": "model.embed_tokens", "norm": "model.norm"}
_ROTARY_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.output": "mlp.down_proj",
}
_QKV = ("attention.query", "attention.key", "attention.value")
_QK_NORM = {
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
}

_GPT2 = {"embedding": "transformer.wte", "positions": "transformer.wpe"}
_GPT2_BIASED = {"norm": "transformer.ln_f"}
_GPT2_BLOCK = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
_GPT2_BLOCK_MATRICES = {
    _QKV: "attn.c_attn",
    ("attention.output",): "attn.c_proj",
    ("mlp.up",): "mlp.c_fc",
    ("mlp.output",): "mlp.c_proj",
}

_SHARED = "model.shared.weight"
HEAD_BIAS = "final_logits_bias"
_ENCODER_BLOCK = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "mlp.up": "fc1",
    "mlp.output": "fc2",
    "mlp_norm": "final_layer_norm",
}
_DECODER_BLOCK = _ENCODER_BLOCK | {
    "cross.query": "encoder_attn.q_proj",
    "cross.key": "encoder_attn.k_proj",
    "cross.value": "encoder_attn.v_proj",
    "cross.output": "encoder_attn.out_proj",
    "cross_norm": "encoder_attn_layer_norm",
}

# What files hold beside the weights; all of it is computed anew.
COMPUTED = (
    ".attn.bias",
    ".attn.masked_bias",
    ".rotary_emb.inv_freq",
    ".embed_positions.weight",
    ".embed_positions.weights",
    HEAD_BIAS,
)
# Further names of tensors that are there already.
TIED = {"lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}


def entries(config: Config) -> list[Entry]:
    """All tensors of a model folder of this configuration."""
    if isinstance(config, EncoderDecoderConfig):
        return _encoder_decoder_entries(config)
    if isinstance(config, RecurrentConfig):
        kind = RecurrentModel if config.decoder_depth is None else RecurrentPairModel
        return _own_entries(kind, config)
    if config.architecture == "speedrun":
        return _own_entries(Speedrun, config)
    table = _gpt2_entries(config) if config.is_gpt2 else _rotary_entries(config)
    if not config.tied:
        table.append(Entry("lm_head.weight", ("head.weight",)))
    return table


def _own_entries(kind: Callable[[Any], nn.Module], config: Config) -> list[Entry]:
    """Of a network that only Xunlian opens: under its own names."""
    with torch.device("meta"):
        return [Entry(name, (name,)) for name in kind(config).state_dict()]


def _rotary_entries(config: DecoderConfig) -> list[Entry]:
    table = [Entry(f"{theirs}.weight", (f"{ours}.weight",)) for ours, theirs in _ROTARY.items()]
    modules = _ROTARY_BLOCK | (_QK_NORM if config.qk_norm else {})
    tensors = [(f"{ours}.weight", f"{theirs}.weight") for ours, theirs in modules.items()]
    if config.qkv_bias:
        tensors += [(f"{ours}.bias", f"{modules[ours]}.bias") for ours in _QKV]
    for block in range(config.depth):
        table += [
            Entry(f"model.layers.{block}.{theirs}", (f"blocks.{block}.{ours}",))
            for ours, theirs in tensors
        ]
    return table


def _gpt2_entries(config: DecoderConfig) -> list[Entry]:
    table = [Entry(f"{theirs}.weight", (f"{ours}.weight",)) for ours, theirs in _GPT2.items()]
    for kind in ("weight", "bias"):
        table += [
            Entry(f"{theirs}.{kind}", (f"{ours}.{kind}",)) for ours, theirs in _GPT2_BIASED.items()
        ]
        for block in range(config.depth):
            here, there = f"blocks.{block}", f"transformer.h.{block}"
            table += [
                Entry(f"{there}.{theirs}.{kind}", (f"{here}.{ours}.{kind}",))
                for ours, theirs in _GPT2_BLOCK.items()
            ]
            table += [
                Entry(
                    f"{there}.{theirs}.{kind}",
                    tuple(f"{here}.{name}.{kind}" for name in ours),
                    transposed=kind == "weight",
                )
                for ours, theirs in _GPT2_BLOCK_MATRICES.items()
            ]
    return table


def _encoder_decoder_entries(config: EncoderDecoderConfig) -> list[Entry]:
    modules = {}
    for side, depth, names in (
        ("encoder", config.depth, _ENCODER_BLOCK),
        ("decoder", config.decoder_depth, _DECODER_BLOCK),
    ):
        for block in range(depth):
            for ours, theirs in names.items():
                modules[f"{side}.{block}.{ours}"] = f"model.{side}.layers.{block}.{theirs}"
        if config.norms_first:
            modules[f"{side}_norm"] = f"model.{side}.layer_norm"
        if config.learns_positions:
            modules[f"{side}_start_norm"] = f"model.{side}.layernorm_embedding"
    table = [Entry(_SHARED, ("embedding.weight",))]
    if config.learns_positions:
        table += [
            Entry(f"model.{side}.embed_positions.weight", (f"{side}_positions.weight",))
            for side in ("encoder", "decoder")
        ]
    if config.head_bias:
        table.append(Entry(HEAD_BIAS, ("head_bias",)))
    return table + [
        Entry(f"{theirs}.{kind}", (f"{ours}.{kind}",))
        for ours, theirs in modules.items()
        for kind in ("weight", "bias")
    ]


def constants(config: Config) -> dict[str, Tensor]:
    """Tensors that a folder of this architecture must hold, the same whatever was learned."""
    if not isinstance(config, EncoderDecoderConfig):
        return {}
    found: dict[str, Tensor] = {}
    if config.architecture != "m2m_100" and not config.head_bias:
        found[HEAD_BIAS] = torch.zeros(1, config.vocab_size)
    if config.architecture == "pegasus":
        for side in ("encoder", "decoder"):
            found[f"model.{side}.embed_positions.weight"] = sinusoidal_table(
                config.context, config.width
            )
    return found


def to_theirs(entry: Entry, weights: Mapping[str, Tensor]) -> Tensor:
    """The tensor of `entry`, fp32 and contiguous, from our state dictionary."""
    parts = [weights[name].detach().to("cpu", torch.float32) for name in entry.ours]
    joined = parts[0] if len(parts) == 1 else torch.cat(parts)
    return (joined.t() if entry.transposed else joined).contiguous()


def their_shape(entry: Entry, shapes: Mapping[str, torch.Size]) -> tuple[int, ...]:
    """The shape that the tensor of `entry` must have."""
    inputs = shapes[entry.ours[0]][1:]
    joined = (sum(shapes[name][0] for name in entry.ours), *inputs)
    return joined[::-1] if entry.transposed else joined


def from_theirs(
    entry: Entry, tensor: Tensor, shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Our tensors, fp32, from one of theirs. `shapes` are those of our state dictionary."""
    joined = (tensor.t() if entry.transposed else tensor).float()
    parts = joined.split([shapes[name][0] for name in entry.ours])
    return dict(zip(entry.ours, parts, strict=True))
