"""Our decoder's configuration as the fields of a config.json, and back.

Both spellings of fields that changed between Transformers 4 and 5 are written: `rope_theta` and
`rope_parameters`, `torch_dtype` and `dtype`.
"""

from pathlib import Path
from typing import Any

from xunlian.errors import InputError, did_you_mean
from xunlian.models.decoder import DecoderConfig

MODEL_TYPES = ("qwen3", "gpt2")


def to_fields(config: DecoderConfig, end_id: int | None) -> dict[str, Any]:
    """The fields of config.json."""
    return {
        **(_gpt2_fields(config) if config.is_gpt2 else _qwen3_fields(config)),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "dtype": "float32",
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _qwen3_fields(config: DecoderConfig) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": config.depth,
    }


def _gpt2_fields(config: DecoderConfig) -> dict[str, Any]:
    assert config.heads * config.head_width == config.width and config.kv_heads == config.heads
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "n_positions": config.context,
        "n_ctx": config.context,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "summary_first_dropout": 0.0,
    }


def from_fields(fields: Any, file: Path) -> DecoderConfig:
    """The configuration that `fields`, read from `file`, describe.

    Raises:
        InputError: no such model type, a field is missing or wrong, or asks for what we lack.
    """
    if not isinstance(fields, dict):
        raise InputError(f"'{file}' is damaged: it does not hold a table of fields.")
    kind = fields.get("model_type")
    if kind not in MODEL_TYPES:
        near = did_you_mean(str(kind), MODEL_TYPES)
        raise InputError(
            f"'{file}' describes a model of type '{kind}'.{near} Xunlian opens "
            f"{' and '.join(MODEL_TYPES)}."
        )
    return (_read_gpt2 if kind == "gpt2" else _read_qwen3)(fields, file)


def _read_qwen3(fields: dict[str, Any], file: Path) -> DecoderConfig:
    _require(fields, file, "hidden_act", "silu")
    _require(fields, file, "attention_bias", False)
    _require(fields, file, "use_sliding_window", False)
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
        raise InputError(
            f"'{file}' asks for scaled rotary positions ({rope}); Xunlian has the plain ones only."
        )
    heads = _count(fields, file, "num_attention_heads")
    width = _count(fields, file, "hidden_size")
    return DecoderConfig(
        architecture="qwen3",
        vocab_size=_count(fields, file, "vocab_size"),
        depth=_count(fields, file, "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=_count(fields, file, "num_key_value_heads", heads, divides=heads),
        head_width=_count(fields, file, "head_dim", 128),
        mlp_width=_count(fields, file, "intermediate_size"),
        context=_count(fields, file, "max_position_embeddings"),
        tied=bool(fields.get("tie_word_embeddings", False)),
        rope_theta=_number(fields | rope, file, "rope_theta", 10_000.0),
        norm_epsilon=_number(fields, file, "rms_norm_eps", 1e-6),
    )


def _read_gpt2(fields: dict[str, Any], file: Path) -> DecoderConfig:
    _require(fields, file, "activation_function", "gelu_new", "gelu_pytorch_tanh")
    _require(fields, file, "scale_attn_weights", True)
    _require(fields, file, "scale_attn_by_inverse_layer_idx", False)
    _require(fields, file, "add_cross_attention", False)
    width = _count(fields, file, "n_embd", 768)
    heads = _count(fields, file, "n_head", 12, divides=width)
    return DecoderConfig(
        architecture="gpt2",
        vocab_size=_count(fields, file, "vocab_size", 50257),
        depth=_count(fields, file, "n_layer", 12),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=_count(fields, file, "n_inner", 4 * width),
        context=_count(fields, file, "n_positions", 1024),
        tied=bool(fields.get("tie_word_embeddings", True)),
        norm_epsilon=_number(fields, file, "layer_norm_epsilon", 1e-5),
    )


def _require(fields: dict[str, Any], file: Path, name: str, *allowed: object) -> None:
    """The field is absent or has one of the values that our mathematics is right for."""
    if name in fields and fields[name] not in allowed:
        raise InputError(
            f"'{file}' asks for {name} = {fields[name]!r}; Xunlian has "
            f"{' and '.join(map(repr, allowed))} only."
        )


def _count(
    fields: dict[str, Any],
    file: Path,
    name: str,
    default: int | None = None,
    divides: int | None = None,
) -> int:
    value = default if fields.get(name) is None else fields[name]
    if value is None:
        raise InputError(f"'{file}' lacks the field {name}.")
    fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not fits or (divides is not None and divides % value):
        raise InputError(f"'{file}' is damaged: {name} = {value!r}.")
    return int(value)


def _number(fields: dict[str, Any], file: Path, name: str, default: float) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"'{file}' is damaged: {name} = {value!r}.")
    return float(value)
