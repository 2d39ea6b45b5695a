"""An encoder-decoder as ONNX: two graphs, of which the second is called once for each token.

    encoder.onnx   input_ids and attention_mask (B, S) int64, the mask 0 where a source is padded
                   -> present.N.encoder.key and .value (B, H, S, K): of every decoder layer
    decoder.onnx   input_ids (B, L), encoder_attention_mask (B, S) int64,
                   past_key_values.N.encoder.key and .value (B, H, S, K): from the encoder,
                   past_key_values.N.decoder.key and .value (B, H, P, K): from the call before
                   -> logits (B, L, V), present.N.decoder.key and .value (B, H, P + L, K)

Targets start with the token `decoder_start_token_id`, and the first call has caches of length 0.

Shapes: B batch, S source length, L target length, P length of the cache, D width, H heads, K width
of a head, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from xunlian.interop.onnx_graph import Axis, Graph, Port
from xunlian.models.confined import CrossAttention, SelfAttention
from xunlian.models.encoder_decoder import DecoderBlock, EncoderBlock, EncoderDecoder
from xunlian.models.layers import LayerNorm, Linear

FILES = ("encoder.onnx", "decoder.onnx")
_SIDES = ("key", "value")


def write_pairs(folder: Path, model: EncoderDecoder) -> None:
    """Write both graphs into `folder` in fp32, with their weights beside them.

    Raises:
        InputError: the library `onnx` is missing.
    """
    encoder, decoder = FILES
    _write_encoder(folder / encoder, model)
    _write_decoder(folder / decoder, model)


def _write_encoder(file: Path, model: EncoderDecoder) -> None:
    graph, config = Graph(), model.config
    embedding = graph.constant(model.embedding.weight, "embedding")
    stop = graph.length("input_ids", 1)
    x = _embed(graph, model, embedding, *model.source_start, graph.constant(0), stop)
    bias = graph.mask_bias("attention_mask")
    for block in model.encoder:
        assert isinstance(block, EncoderBlock)

        def look(x: str, inner: SelfAttention = block.attention) -> str:
            q, k, v = (_heads(graph, x, m, inner) for m in (inner.query, inner.key, inner.value))
            return _mixed(graph, q, k, v, bias, inner)

        x = _add(graph, x, block, block.attention_norm, look)
        x = _add(graph, x, block, block.mlp_norm, partial(graph.mlp, mlp=block.mlp))
    if config.norms_first:
        x = graph.norm(x, model.encoder_norm)
    for number, block in enumerate(model.decoder):
        assert isinstance(block, DecoderBlock)
        for side, matrix in zip(_SIDES, (block.cross.key, block.cross.value), strict=True):
            found = _heads(graph, x, matrix, block.cross)
            graph.op("Identity", found, output=f"present.{number}.encoder.{side}")
    source: list[Axis] = ["batch", config.heads, "source_length", config.head_width]
    graph.save(
        file,
        [(name, ["batch", "source_length"]) for name in ("input_ids", "attention_mask")],
        [(f"present.{name}", source) for name in _caches(model, "encoder")],
    )


def _write_decoder(file: Path, model: EncoderDecoder) -> None:
    graph, config = Graph(), model.config
    embedding = graph.constant(model.embedding.weight, "embedding")
    start = graph.length("past_key_values.0.decoder.key", 2)
    stop = graph.op("Add", start, graph.length("input_ids", 1))
    x = _embed(graph, model, embedding, *model.target_start, start, stop)
    bias = graph.bias(graph.past_and_future(start, stop))
    source_bias = graph.mask_bias("encoder_attention_mask")
    for number, block in enumerate(model.decoder):
        assert isinstance(block, DecoderBlock)

        def look_back(x: str, inner: SelfAttention = block.attention, layer: int = number) -> str:
            q, k, v = (_heads(graph, x, m, inner) for m in (inner.query, inner.key, inner.value))
            k = graph.grow(k, f"{layer}.decoder.key")
            v = graph.grow(v, f"{layer}.decoder.value")
            return _mixed(graph, q, k, v, bias, inner)

        def look_across(x: str, inner: CrossAttention = block.cross, layer: int = number) -> str:
            k, v = (f"past_key_values.{layer}.encoder.{side}" for side in _SIDES)
            return _mixed(graph, _heads(graph, x, inner.query, inner), k, v, source_bias, inner)

        x = _add(graph, x, block, block.attention_norm, look_back)
        x = _add(graph, x, block, block.cross_norm, look_across)
        x = _add(graph, x, block, block.mlp_norm, partial(graph.mlp, mlp=block.mlp))
    if config.norms_first:
        x = graph.norm(x, model.decoder_norm)
    graph.head(x, embedding, model.head_bias)
    inputs: list[Port] = [
        ("input_ids", ["batch", "length"]),
        ("encoder_attention_mask", ["batch", "source_length"]),
    ]
    outputs: list[Port] = [("logits", ["batch", "length", config.vocab_size])]
    for name in _caches(model, "encoder"):
        axes: list[Axis] = ["batch", config.heads, "source_length", config.head_width]
        inputs.append((f"past_key_values.{name}", axes))
    for name in _caches(model, "decoder"):
        past: list[Axis] = ["batch", config.heads, "past_length", config.head_width]
        grown: list[Axis] = ["batch", config.heads, "total_length", config.head_width]
        inputs.append((f"past_key_values.{name}", past))
        outputs.append((f"present.{name}", grown))
    graph.save(file, inputs, outputs)


def _caches(model: EncoderDecoder, kind: str) -> list[str]:
    return [f"{n}.{kind}.{side}" for n in range(model.config.decoder_depth) for side in _SIDES]


def _embed(
    graph: Graph,
    model: EncoderDecoder,
    embedding: str,
    positions: Tensor,
    norm: LayerNorm | None,
    start: str,
    stop: str,
) -> str:
    """The tokens `input_ids`, whose places are `start` to `stop`."""
    scale = graph.constant(model.config.embedding_scale)
    x = graph.op("Mul", graph.op("Gather", embedding, "input_ids"), scale)
    places = graph.op("Gather", graph.constant(positions), graph.span(start, stop))
    x = graph.op("Add", x, places)
    return x if norm is None else graph.norm(x, norm)


def _add(
    graph: Graph,
    x: str,
    block: EncoderBlock | DecoderBlock,
    norm: nn.Module,
    part: Callable[[str], str],
) -> str:
    """`x` and what `part` makes of it, normalized before or after."""
    if block.norms_first:
        return graph.op("Add", x, part(graph.norm(x, norm)))
    return graph.norm(graph.op("Add", x, part(x)), norm)


def _heads(graph: Graph, x: str, matrix: Linear, inner: SelfAttention | CrossAttention) -> str:
    """(B, L, D) -> (B, H, L, K)"""
    width = matrix.out_features // inner.heads
    return graph.heads_first(graph.split_heads(graph.linear(x, matrix), inner.heads, width))


def _mixed(
    graph: Graph, q: str, k: str, v: str, bias: str, inner: SelfAttention | CrossAttention
) -> str:
    heads, width = inner.heads, inner.output.in_features // inner.heads
    return graph.linear(graph.attend(q, k, v, bias, heads, heads, width), inner.output)
