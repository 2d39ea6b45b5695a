"""A language model as ONNX, for onnxruntime and what is built on it (browsers, phones, C#, Java).

    input_ids        (B, L) int64       attention_mask (B, P + L), 0 where a text is padded
    position_ids     (B, L) int64       past_key_values.N.key and .value (B, G, P, K)
    logits           (B, L, V) fp32     present.N.key and .value (B, G, P + L, K)

These are the names that Optimum and Transformers.js know. Of each `present` comes the
`past_key_values` of the next call; the first call has caches of length 0.

Shapes: B batch, L length, P length of the cache, G heads of keys, K width of a head, V vocabulary.
"""

from pathlib import Path

from xunlian.interop.onnx_graph import Axis, Graph, Port
from xunlian.models.decoder import Block, Decoder

FILE = "model.onnx"


def write_decoder(file: Path, model: Decoder) -> None:
    """Write `file` in fp32, and its weights to `file`.data.

    Raises:
        InputError: the library `onnx` is missing.
    """
    graph, config = Graph(), model.config
    embedding = graph.constant(model.embedding.weight, "embedding")
    x, turn = graph.op("Gather", embedding, "input_ids"), None
    if model.positions is not None:
        places = graph.op("Gather", graph.constant(model.positions.weight), "position_ids")
        x = graph.op("Add", x, places)
    else:
        turn = tuple(
            # (B, L, 1, K / 2): the same for all heads
            graph.op("Unsqueeze", graph.op("Gather", table, "position_ids"), graph.constant([2]))
            for table in (graph.constant(model.cos), graph.constant(model.sin))
        )
    start = graph.length("past_key_values.0.key", 2)
    stop = graph.op("Add", start, graph.length("input_ids", 1))
    bias = graph.mask_bias("attention_mask", graph.past_and_future(start, stop))
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        x = graph.op("Add", x, _attention(graph, x, block, number, turn, bias))
        x = graph.op("Add", x, graph.mlp(graph.norm(x, block.mlp_norm), block.mlp))
    head = embedding if model.head is None else graph.constant(model.head.weight, "head")
    graph.head(graph.norm(x, model.norm), head)
    layers = [f"{number}.{side}" for number in range(config.depth) for side in ("key", "value")]
    past: list[Axis] = ["batch", config.kv_heads, "past_length", config.head_width]
    grown: list[Axis] = ["batch", config.kv_heads, "total_length", config.head_width]
    inputs: list[Port] = [
        ("input_ids", ["batch", "length"]),
        ("attention_mask", ["batch", "total_length"]),
        ("position_ids", ["batch", "length"]),
    ]
    outputs: list[Port] = [("logits", ["batch", "length", config.vocab_size])]
    inputs += [(f"past_key_values.{layer}", past) for layer in layers]
    outputs += [(f"present.{layer}", grown) for layer in layers]
    graph.save(file, inputs, outputs)


def _attention(
    graph: Graph, x: str, block: Block, number: int, turn: tuple[str, ...] | None, bias: str
) -> str:
    inner, normed = block.attention, graph.norm(x, block.attention_norm)
    width, heads, groups = inner.head_width, inner.heads, inner.kv_heads
    q = graph.split_heads(graph.linear(normed, inner.query), heads, width)
    k = graph.split_heads(graph.linear(normed, inner.key), groups, width)
    v = graph.split_heads(graph.linear(normed, inner.value), groups, width)
    if turn is not None:
        q = _rotate(graph, graph.norm(q, inner.query_norm), *turn)
        k = _rotate(graph, graph.norm(k, inner.key_norm), *turn)
    k = graph.grow(graph.heads_first(k), f"{number}.key")
    v = graph.grow(graph.heads_first(v), f"{number}.value")
    mixed = graph.attend(graph.heads_first(q), k, v, bias, heads, groups, width)
    return graph.linear(mixed, inner.output)


def _rotate(graph: Graph, x: str, cos: str, sin: str) -> str:
    """As `rotate` in models/layers.py. (B, L, H, K) -> (B, L, H, K)"""
    first, second = graph.split(x)
    left = graph.op("Sub", graph.op("Mul", first, cos), graph.op("Mul", second, sin))
    right = graph.op("Add", graph.op("Mul", second, cos), graph.op("Mul", first, sin))
    return graph.op("Concat", left, right, axis=-1)
