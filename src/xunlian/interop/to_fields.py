"""A configuration as the fields of a config.json.

Both spellings of fields that changed between Transformers 4 and 5 are written: `rope_theta` and
`rope_parameters`, `torch_dtype` and `dtype`.
"""

from typing import Any

from xunlian.interop.config import PAIRS, SPEEDRUN, Config
from xunlian.models.decoder import DecoderConfig
from xunlian.models.layers import RopeScaling
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import RecurrentConfig

_CLASSES = {"qwen3": "Qwen3", "qwen2": "Qwen2", "llama": "Llama", "mistral": "Mistral"}


def to_fields(
    config: Config,
    end_id: int | None,
    start_id: int | None = None,
    before_id: int | None = None,
    pad_id: int | None = None,
) -> dict[str, Any]:
    """The fields of config.json; the ids are those of `write_config`."""
    if isinstance(config, EncoderDecoderConfig):
        return _encoder_decoder_fields(config, end_id, start_id, pad_id)
    if isinstance(config, RecurrentConfig):
        return _recurrent_fields(config, end_id, start_id)
    own = {"gpt2": _gpt2_fields, "speedrun": _speedrun_fields}
    return {
        **own.get(config.architecture, _rotary_fields)(config),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "bos_token_id": end_id if before_id is None else before_id,
        "eos_token_id": end_id,
        "dtype": "float32",
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _rotary_fields(config: DecoderConfig) -> dict[str, Any]:
    scaling = _scaling_fields(config.rope_scaling)
    fields: dict[str, Any] = {
        "architectures": [f"{_CLASSES[config.architecture]}ForCausalLM"],
        "model_type": config.architecture,
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
        "rope_parameters": {"rope_theta": config.rope_theta, **scaling},
        "rope_scaling": scaling if config.rope_scaling else None,
        "attention_dropout": 0.0,
    }
    if config.architecture in ("llama", "qwen3"):
        fields["attention_bias"] = False
    if config.architecture == "llama":
        fields["mlp_bias"] = False
    else:  # attention reaches as far as the context
        fields["sliding_window"] = None
    if config.architecture in ("qwen2", "qwen3"):
        fields |= {"use_sliding_window": False, "max_window_layers": config.depth}
    return fields


def _scaling_fields(scaling: RopeScaling | None) -> dict[str, Any]:
    if scaling is None:
        return {"rope_type": "default"}
    fields: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        fields |= {
            "low_freq_factor": scaling.low_turns,
            "high_freq_factor": scaling.high_turns,
            "original_max_position_embeddings": scaling.original_context,
        }
    return fields


def _speedrun_fields(config: DecoderConfig) -> dict[str, Any]:
    return {
        "architectures": ["XunlianSpeedrunForCausalLM"],
        "model_type": SPEEDRUN,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
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


def _encoder_decoder_fields(
    config: EncoderDecoderConfig, end_id: int | None, start_id: int | None, pad_id: int | None
) -> dict[str, Any]:
    if config.architecture == "m2m_100":
        pad_id = config.first_position - 1  # positions are counted from it
    return {
        "architectures": [PAIRS[config.architecture]],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "d_model": config.width,
        "encoder_layers": config.depth,
        "decoder_layers": config.decoder_depth,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.mlp_width,
        "decoder_ffn_dim": config.mlp_width,
        "max_position_embeddings": config.context,
        "activation_function": config.activation,
        "scale_embedding": config.scaled,
        "add_bias_logits": config.head_bias,
        "static_position_embeddings": not config.learns_positions,
        "normalize_before": config.norms_first,  # both as CTranslate2 reads them
        "normalize_embedding": config.learns_positions,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": end_id,
        "forced_eos_token_id": None,
        "pad_token_id": start_id if pad_id is None else pad_id,
        "decoder_start_token_id": start_id,
        "dtype": "float32",
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _recurrent_fields(
    config: RecurrentConfig, end_id: int | None, start_id: int | None
) -> dict[str, Any]:
    pairs = config.decoder_depth is not None
    return {
        "model_type": f"xunlian-{config.family}",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_decoder_layers": config.decoder_depth,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": pairs,
        "bos_token_id": None if pairs else end_id,
        "eos_token_id": end_id,
        "pad_token_id": start_id if pairs else end_id,
        "decoder_start_token_id": start_id if pairs else None,
        "dtype": "float32",
    }
