"""CTranslate2, a fast engine in C++ for processors and GPUs: our Transformers in its folder.

    model.bin  config.json  vocabulary.json (of pairs: shared_, or source_ and target_vocabulary)

Its specifications are filled from our weights directly, as its documentation describes for
converters of one's own (opennmt.net/CTranslate2/conversion.html). Its converter of Hugging Face
folders would need Transformers, lets Marian's targets start from zeros, whatever the start token
has learned, and takes one tokenizer only.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xunlian.corpus.extras import need
from xunlian.models.confined import CrossAttention, SelfAttention
from xunlian.models.decoder import Block, Decoder
from xunlian.models.encoder_decoder import DecoderBlock, EncoderBlock, EncoderDecoder
from xunlian.models.layers import LayerNorm, RopeScaling, SwiGLU
from xunlian.tokenizer.patterns import UNKNOWN
from xunlian.tokenizer.sides import Sides

TYPES = ("int8", "int8_float32", "float16", "float32")
Type = Literal["int8", "int8_float32", "float16", "float32"]


def write_ctranslate2(
    folder: Path,
    model: Decoder | EncoderDecoder,
    tokenizers: Sides,
    start_id: int | None,
    type_: Type,
) -> None:
    """Write the files above into `folder`. `start_id` begins the targets of an encoder-decoder.

    Raises:
        InputError: the library `ctranslate2` is missing.
    """
    need("ctranslate2", "ctranslate2")
    rows, source = model.config.vocab_size, tokenizers.source
    if isinstance(model, Decoder):
        spec = _decoder(model)
        spec.register_vocabulary(source.tokens(rows))
    else:
        assert start_id is not None
        spec = _encoder_decoder(model)
        spec.register_source_vocabulary(source.tokens(rows))
        spec.register_target_vocabulary(tokenizers.target.tokens(rows))
        spec.config.decoder_start_token = source.backend.id_to_token(start_id)
    spec.config.bos_token = source.backend.id_to_token(source.before_id)
    # CTranslate2 cannot do without the name of an unknown token, and a byte-level vocabulary has
    # none.
    spec.config.eos_token = spec.config.unk_token = source.end_token
    if source.backend.token_to_id(UNKNOWN) is not None:
        spec.config.unk_token = UNKNOWN
    spec.config.layer_norm_epsilon = model.config.norm_epsilon
    spec.validate()
    spec.optimize(quantization=type_)
    spec.save(str(folder))


def _decoder(model: Decoder) -> Any:
    specs, config = need("ctranslate2.specs", "ctranslate2"), model.config
    scaling = config.rope_scaling
    if config.is_gpt2:
        spec = specs.TransformerDecoderModelSpec.from_config(
            config.depth, config.heads, activation=specs.Activation.GELUTanh
        )
    else:
        spec = specs.TransformerDecoderModelSpec.from_config(
            config.depth,
            config.heads,
            activation=specs.Activation.SWISH,
            ffn_glu=True,
            rms_norm=True,
            qk_norm=config.qk_norm,
            rotary_dim=config.head_width,
            rotary_interleave=False,
            rotary_base=config.rope_theta,
            num_heads_kv=None if config.kv_heads == config.heads else config.kv_heads,
            head_dim=config.head_width,
            **({} if scaling is None else _scaling(scaling)),
        )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = _plain(model.embedding.weight)
    if model.positions is not None:
        decoder.position_encodings.encodings = _plain(model.positions.weight)
    for layer, block in zip(decoder.layer, model.blocks, strict=True):
        assert isinstance(block, Block)
        inner, attention = block.attention, layer.self_attention
        _norm(attention.layer_norm, block.attention_norm)
        _linear(attention.linear[0], inner.query, inner.key, inner.value)
        _linear(attention.linear[1], inner.output)
        if scaling is not None and scaling.kind == "llama3":
            attention.rotary_low_freq_factor = np.float32(scaling.low_turns)
            attention.rotary_high_freq_factor = np.float32(scaling.high_turns)
            # The engine reads it, but its specification has no place for it.
            vars(attention)["rotary_scaling_factor"] = np.float32(scaling.factor)
        if config.qk_norm:
            _norm(attention.q_norm, inner.query_norm)
            _norm(attention.k_norm, inner.key_norm)
        _norm(layer.ffn.layer_norm, block.mlp_norm)
        if isinstance(block.mlp, SwiGLU):
            _linear(layer.ffn.linear_0, block.mlp.gate)
            _linear(layer.ffn.linear_0_noact, block.mlp.up)
        else:
            _linear(layer.ffn.linear_0, block.mlp.up)
        _linear(layer.ffn.linear_1, block.mlp.output)
    _norm(decoder.layer_norm, model.norm)
    decoder.projection.weight = _plain(model.head_weight)
    return spec


def _scaling(scaling: RopeScaling) -> dict[str, Any]:
    specs = need("ctranslate2.specs", "ctranslate2")
    return {
        "rotary_scaling_type": specs.RotaryScalingType[scaling.kind.capitalize()],
        "rotary_scaling_factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_context,
    }


def _encoder_decoder(model: EncoderDecoder) -> Any:
    specs, config = need("ctranslate2.specs", "ctranslate2"), model.config
    spec = specs.TransformerSpec.from_config(
        (config.depth, config.decoder_depth),
        config.heads,
        pre_norm=config.norms_first,
        activation=specs.Activation[config.activation.upper()],
        layernorm_embedding=config.learns_positions,
    )
    for side, (positions, norm) in (
        (spec.encoder, model.source_start),
        (spec.decoder, model.target_start),
    ):
        side.scale_embeddings = config.embedding_scale
        side.position_encodings.encodings = _plain(positions)
        if norm is not None:
            _norm(side.layernorm_embedding, norm)
    spec.encoder.embeddings[0].weight = _plain(model.embedding.weight)
    spec.decoder.embeddings.weight = _plain(model.embedding.weight)
    spec.decoder.projection.weight = _plain(model.embedding.weight)
    if model.head_bias is not None:
        spec.decoder.projection.bias = _plain(model.head_bias.squeeze(0))
    for layer, block in zip(spec.encoder.layer, model.encoder, strict=True):
        assert isinstance(block, EncoderBlock)
        _pair_block(layer, block)
    for layer, block in zip(spec.decoder.layer, model.decoder, strict=True):
        assert isinstance(block, DecoderBlock)
        _pair_block(layer, block)
        _norm(layer.attention.layer_norm, block.cross_norm)
        _attention(layer.attention, block.cross)
    if config.norms_first:
        _norm(spec.encoder.layer_norm, model.encoder_norm)
        _norm(spec.decoder.layer_norm, model.decoder_norm)
    return spec


def _pair_block(layer: Any, block: EncoderBlock | DecoderBlock) -> None:
    """What both kinds of blocks have."""
    _norm(layer.self_attention.layer_norm, block.attention_norm)
    _attention(layer.self_attention, block.attention)
    _norm(layer.ffn.layer_norm, block.mlp_norm)
    _linear(layer.ffn.linear_0, block.mlp.up)
    _linear(layer.ffn.linear_1, block.mlp.output)


def _attention(spec: Any, inner: SelfAttention | CrossAttention) -> None:
    *entries, last = spec.linear
    inputs = [inner.query, inner.key, inner.value]
    joined = [inputs] if isinstance(inner, SelfAttention) else [inputs[:1], inputs[1:]]
    for entry, layers in zip(entries, joined, strict=True):
        _linear(entry, *layers)
    _linear(last, inner.output)


def _linear(spec: Any, *layers: nn.Linear) -> None:
    """Several layers become one, their outputs side by side."""
    spec.weight = _plain(torch.cat([layer.weight for layer in layers]))
    if layers[0].bias is not None:
        spec.bias = _plain(torch.cat([layer.bias for layer in layers]))


def _norm(spec: Any, norm: nn.Module) -> None:
    assert isinstance(norm.weight, Tensor)
    spec.gamma = _plain(norm.weight)
    if isinstance(norm, LayerNorm):
        spec.beta = _plain(norm.bias)


def _plain(tensor: Tensor) -> Any:
    """A copy in fp32: CTranslate2 rounds in place."""
    return tensor.detach().to("cpu", torch.float32, copy=True).numpy()
