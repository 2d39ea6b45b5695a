"""The fields of a config.json as a configuration, or what of them we lack."""

from pathlib import Path
from typing import Any, get_args

from xunlian.errors import InputError, did_you_mean
from xunlian.interop.config import ACTIVATIONS, MODEL_TYPES, PAIRS, RECURRENT, ROTARY, Config
from xunlian.models.decoder import Architecture, DecoderConfig
from xunlian.models.layers import RopeScaling
from xunlian.models.pair_config import Architecture as PairArchitecture
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import Family, RecurrentConfig

# Above all that is known: a damaged number shall not take all memory before the weights are seen.
MOST_LAYERS, MOST = 10_000, 1 << 24


def from_fields(fields: Any, file: Path) -> Config:
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
            f"{', '.join(MODEL_TYPES[:-1])} and {MODEL_TYPES[-1]}."
        )
    if fields.get("quantization_config"):
        raise InputError(
            f"'{file}' describes quantized weights, which Xunlian does not open. Take the folder "
            "of the same model in bf16 or fp32."
        )
    if kind in PAIRS:
        return _read_encoder_decoder(kind, fields, file)
    if kind in RECURRENT:
        return _read_recurrent(RECURRENT[kind], fields, file)
    if kind == "gpt2":
        return _read_gpt2(fields, file)
    return _read_rotary(ROTARY[kind], fields, file)


def _read_encoder_decoder(
    architecture: PairArchitecture, fields: dict[str, Any], file: Path
) -> EncoderDecoderConfig:
    of_m2m = architecture == "m2m_100"
    activation = fields.get("activation_function", "relu" if of_m2m else "gelu")
    _require({"activation_function": activation}, file, "activation_function", *ACTIVATIONS)
    _require(fields, file, "share_encoder_decoder_embeddings", True)
    _require(fields, file, "tie_word_embeddings", True)
    width = _count(fields, file, "d_model")
    heads = _count(fields, file, "encoder_attention_heads", divides=width)
    mlp_width = _count(fields, file, "encoder_ffn_dim")
    _require(fields, file, "decoder_attention_heads", heads)
    _require(fields, file, "decoder_ffn_dim", mlp_width)
    config = EncoderDecoderConfig(
        architecture=architecture,
        vocab_size=_count(fields, file, "vocab_size"),
        depth=_count(fields, file, "encoder_layers"),
        decoder_depth=_count(fields, file, "decoder_layers"),
        width=width,
        heads=heads,
        mlp_width=mlp_width,
        context=_count(fields, file, "max_position_embeddings"),
        activation=ACTIVATIONS[activation],
        scaled=bool(fields.get("scale_embedding", of_m2m)),
        head_bias=bool(fields.get("add_bias_logits", False)),
        first_position=_first_position(architecture, fields, file),
    )
    _require(fields, file, "static_position_embeddings", not config.learns_positions)
    _require(fields, file, "normalize_before", config.norms_first)
    _require(fields, file, "normalize_embedding", config.learns_positions)
    return config


def _first_position(architecture: PairArchitecture, fields: dict[str, Any], file: Path) -> int:
    """That of a text's first token: fairseq counts from behind the padding token."""
    if architecture != "m2m_100":
        return 2 if architecture in ("bart", "mbart") else 0
    pad = fields.get("pad_token_id", 1)
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise InputError(f"'{file}' is damaged: pad_token_id = {pad!r}.")
    if fields.get("decoder_start_token_id", 2) == pad:
        raise InputError(
            f"'{file}' starts targets with the padding token {pad}, which has no position in "
            "M2M100. Set decoder_start_token_id to the end token."
        )
    return pad + 1


def _read_recurrent(family: Family, fields: dict[str, Any], file: Path) -> RecurrentConfig:
    pairs = bool(fields.get("is_encoder_decoder", False))
    if pairs:
        _require(fields, file, "tie_word_embeddings", True)
    return RecurrentConfig(
        family=family,
        vocab_size=_count(fields, file, "vocab_size"),
        depth=_count(fields, file, "num_hidden_layers"),
        width=_count(fields, file, "hidden_size"),
        context=_count(fields, file, "max_position_embeddings"),
        tied=bool(fields.get("tie_word_embeddings", pairs)),
        decoder_depth=_count(fields, file, "num_decoder_layers") if pairs else None,
    )


def _read_rotary(architecture: Architecture, fields: dict[str, Any], file: Path) -> DecoderConfig:
    _require(fields, file, "hidden_act", "silu")
    _require(fields, file, "attention_bias", False)
    _require(fields, file, "mlp_bias", False)
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    scaling = _read_scaling(rope, file)
    fields = fields | rope
    _require(fields, file, "partial_rotary_factor", 1, None)
    width = _count(fields, file, "hidden_size")
    heads = _count(fields, file, "num_attention_heads")
    head_width = 128 if architecture == "qwen3" else max(1, width // heads)
    context = _count(fields, file, "max_position_embeddings")
    window = _window(architecture, fields, file)
    return DecoderConfig(
        architecture=architecture,
        vocab_size=_count(fields, file, "vocab_size"),
        depth=_count(fields, file, "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=_count(fields, file, "num_key_value_heads", heads, divides=heads),
        head_width=_count(fields, file, "head_dim", head_width),
        mlp_width=_count(fields, file, "intermediate_size"),
        context=context if window is None else min(context, window),
        tied=bool(fields.get("tie_word_embeddings", False)),
        rope_theta=_number(fields, file, "rope_theta", 10_000.0),
        norm_epsilon=_number(fields, file, "rms_norm_eps", 1e-6),
        rope_scaling=scaling,
    )


def _read_scaling(rope: Any, file: Path) -> RopeScaling | None:
    if not isinstance(rope, dict):
        raise InputError(f"'{file}' is damaged: the rotary positions are {rope!r}.")
    kind = rope.get("rope_type", rope.get("type", "default"))
    # dynamic slows angles only beyond the context that the folder names, where nobody goes here.
    if kind in ("default", "dynamic"):
        return None
    if kind not in get_args(RopeScaling.__annotations__["kind"]):
        raise InputError(
            f"'{file}' asks for rotary positions of the kind '{kind}'; Xunlian has default, "
            "dynamic, linear and llama3 only."
        )
    if kind == "linear":
        return RopeScaling("linear", _number(rope, file, "factor"))
    scaling = RopeScaling(
        "llama3",
        _number(rope, file, "factor"),
        _number(rope, file, "low_freq_factor"),
        _number(rope, file, "high_freq_factor"),
        _count(rope, file, "original_max_position_embeddings"),
    )
    if scaling.low_turns >= scaling.high_turns:
        raise InputError(
            f"'{file}' is damaged: low_freq_factor = {scaling.low_turns} is not below "
            f"high_freq_factor = {scaling.high_turns}."
        )
    return scaling


def _window(architecture: str, fields: dict[str, Any], file: Path) -> int | None:
    """How many tokens back attention reaches, if that is a limit.

    A text no longer than the window sees no difference, so the window becomes the context.
    """
    if architecture == "mistral":
        if fields.get("sliding_window", 0) is None:
            return None
        return _count(fields, file, "sliding_window", 4096)
    if fields.get("use_sliding_window"):
        return _count(fields, file, "sliding_window", 4096)
    return None


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
    most = MOST_LAYERS if name.endswith(("layers", "n_layer")) else MOST
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
    if not fits or (divides is not None and divides % value):
        raise InputError(f"'{file}' is damaged: {name} = {value!r}.")
    return int(value)


def _number(fields: dict[str, Any], file: Path, name: str, default: float | None = None) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"'{file}' is damaged: {name} = {value!r}.")
    return float(value)
