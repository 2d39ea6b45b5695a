"""The size dial: from a number of parameters, or a depth, to the shape of a network.

Widths grow in proportion to depth, 64 a layer (the habit of nanochat, and within the flat optimum
of arXiv 2001.08361), and are multiples of 64, which matrix kernels like.
"""

import math
from dataclasses import dataclass
from typing import Any

from xunlian.recipe.recurrent_size import (
    RecurrentShape,
    count_recurrent_parameters,
    derive_recurrent_shape,
    recurrent_matrices,
)
from xunlian.recipe.settings import Model, parse_size

WIDTH_PER_LAYER = 64
MAX_DEPTH = 160
MOST_EMBEDDINGS = 0.6
MOST_MISS = 0.3
GATE_INPUTS = 32  # as in models/speedrun.py
IMPORTED_PAIRS = ("m2m_100", "bart", "mbart")
PAIRS = ("pegasus", "marian", *IMPORTED_PAIRS)
"""Layouts of an encoder and a decoder; the imported ones are not made anew."""


@dataclass(frozen=True)
class Shape:
    """The resolved shape of a network; `decoder_depth` only where there is an encoder, too."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    tied: bool
    decoder_depth: int | None = None


def decoder_fields(shape: Shape) -> dict[str, Any]:
    """The fields that a network without an encoder has."""
    return {name: value for name, value in vars(shape).items() if name != "decoder_depth"}


def derive_any_shape(model: Model, vocab_size: int, pairs: bool) -> Shape | RecurrentShape:
    """As `derive_shape`, for every family; `pairs`: of an encoder and a decoder."""
    if model.family == "transformer":
        return derive_shape(model, vocab_size)
    return derive_recurrent_shape(model, vocab_size, pairs)


def derive_shape(model: Model, vocab_size: int) -> Shape:
    """Fill in what the recipe's [model] table leaves open.

    Raises:
        ValueError: the given values cannot be combined.
    """
    if model.depth or model.width or not model.size:
        depth = model.depth or max(1, round((model.width or 384) / WIDTH_PER_LAYER))
        return _shape(model, depth, model.width or _width_of(depth))
    target = parse_size(model.size)
    shape = _solve(model, vocab_size, target)
    if (
        model.tied is None
        and not _always_tied(model)
        and 2 * vocab_size * shape.width > MOST_EMBEDDINGS * target
    ):
        # Two tables of embeddings would leave too little for the blocks.
        shape = _solve(model.model_copy(update={"tied": True}), vocab_size, target)
    found = count_parameters(model, shape, vocab_size)
    if abs(found / target - 1) > MOST_MISS:
        raise ValueError(
            f"model.size = {model.size} does not go with a vocabulary of {vocab_size}: the nearest "
            f"network has {found:,} parameters. Choose another size or a smaller vocabulary, or "
            "give model.depth and model.width"
        )
    return shape


def _solve(model: Model, vocab_size: int, target: int) -> Shape:
    """The shape nearest to `target` parameters, of all depths, with natural proportions."""
    candidates = []
    for depth in range(2, MAX_DEPTH + 1):
        shape = _shape(model, depth, _width_near(model, depth, vocab_size, target))
        miss = abs(count_parameters(model, shape, vocab_size) / target - 1)
        # A tenth off in size weighs as much as twice too wide or too deep.
        stretch = abs(math.log2(shape.width / _width_of(depth)))
        candidates.append((10 * miss + stretch, depth, shape))
    return min(candidates, key=lambda candidate: candidate[:2])[2]


def count_parameters(model: Model, shape: Shape | RecurrentShape, vocab_size: int) -> int:
    """Every parameter of the network, the embeddings included."""
    if isinstance(shape, RecurrentShape):
        return count_recurrent_parameters(model, shape, vocab_size)
    width, gpt2 = shape.width, model.architecture == "gpt2"
    if shape.decoder_depth is not None:
        encoder, decoder = _pair_matrices(shape)
        # Biases, and two numbers a channel for each norm.
        encoder += shape.depth * (4 * width + shape.mlp_width + width + 4 * width)
        decoder += shape.decoder_depth * (8 * width + shape.mlp_width + width + 6 * width)
        ends = 4 * width if model.architecture in ("pegasus", "m2m_100", "mbart") else 0
        if model.architecture in ("bart", "mbart"):  # learned positions, and norms of what goes in
            ends += 2 * (model.context + 2) * width + 4 * width
        return encoder + decoder + vocab_size * width + ends
    inner, outer = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = 2 * width * inner + 2 * width * outer
    mlp = (2 if gpt2 else 3) * width * shape.mlp_width
    small = 2 * width
    if model.architecture in (None, "qwen3", "speedrun"):  # norms of queries and keys
        small += 2 * shape.head_width
    if model.architecture == "qwen2":
        small += inner + 2 * outer
    if gpt2:  # the second half of each LayerNorm, and the biases
        small += 2 * width + inner + 2 * outer + width + shape.mlp_width + width
    embeddings = vocab_size * width * (1 if shape.tied else 2)
    if gpt2:
        embeddings += model.context * width
    if model.architecture == "speedrun":  # two residual scalars; gated value embeddings
        small += 2
        embeddings += value_tables(shape) * shape.kv_heads * min(GATE_INPUTS, width)
        embeddings += value_tables(shape) * vocab_size * outer
    return shape.depth * (attention + mlp + small) + embeddings + width * (2 if gpt2 else 1)


def value_tables(shape: Shape) -> int:
    """Tables of value embeddings in a speedrun decoder: one in every other block."""
    return (shape.depth + 1) // 2


def matmul_parameters(model: Model, shape: Shape | RecurrentShape, vocab_size: int) -> int:
    """Parameters that each token is multiplied with: the blocks' matrices and the head.

    For pairs: what a source token and a target token meet together.
    """
    if isinstance(shape, RecurrentShape):
        return sum(recurrent_matrices(model, shape)) + vocab_size * shape.width
    if shape.decoder_depth is not None:
        return sum(_pair_matrices(shape)) + vocab_size * shape.width
    attention = 2 * shape.width * shape.head_width * (shape.heads + shape.kv_heads)
    mlp = (2 if model.architecture == "gpt2" else 3) * shape.width * shape.mlp_width
    return shape.depth * (attention + mlp) + vocab_size * shape.width


def training_flops_per_token(
    model: Model, shape: Shape | RecurrentShape, vocab_size: int, *, frozen: bool = False
) -> float:
    """Floating-point operations of forward and backward for one token.

    6 for each parameter it is multiplied with, 4 for a frozen one beside which an adapter learns
    (whose own are left out), and the attention of a causal row: half of
    12 · depth · width · context (the upper triangle is not needed, so it is not counted). For pairs
    it is a token of each side, and attention within a pair is too little to count.
    """
    if isinstance(shape, RecurrentShape) or shape.decoder_depth is not None:
        return _products(frozen) * matmul_parameters(model, shape, vocab_size)
    attention = 6 * shape.depth * shape.heads * shape.head_width * model.context
    return _products(frozen) * matmul_parameters(model, shape, vocab_size) + attention


def training_flops_per_pair(
    model: Model,
    shape: Shape | RecurrentShape,
    vocab_size: int,
    source_tokens: float,
    target_tokens: float,
    *,
    frozen: bool = False,
) -> float:
    """The same for a pair of so many tokens: encoder for the source, decoder for the target, and
    the keys and values that the decoder makes of the source."""
    if isinstance(shape, RecurrentShape):
        encoder, decoder = recurrent_matrices(model, shape)
        decoder += vocab_size * shape.width
        return _products(frozen) * (encoder * source_tokens + decoder * target_tokens)
    encoder, decoder = _pair_matrices(shape)
    across = (shape.decoder_depth or 0) * 2 * shape.width**2
    source = encoder + across
    target = decoder - across + vocab_size * shape.width
    return _products(frozen) * (source * source_tokens + target * target_tokens)


def _products(frozen: bool) -> int:
    """Operations for a parameter and a token: forward, by the input, and by the parameter."""
    return 4 if frozen else 6


def _pair_matrices(shape: Shape) -> tuple[int, int]:
    """Parameters in the matrices of encoder and decoder."""
    width, mlp = shape.width, 2 * shape.width * shape.mlp_width
    return shape.depth * (4 * width**2 + mlp), (shape.decoder_depth or 0) * (8 * width**2 + mlp)


def _always_tied(model: Model) -> bool:
    return model.architecture in ("gpt2", *PAIRS)


def _shape(model: Model, depth: int, width: int) -> Shape:
    pairs = model.architecture in PAIRS
    plain = pairs or model.architecture == "gpt2"
    head_width = model.head_width or (
        width // model.heads
        if model.heads and width % model.heads == 0
        else 64
        if width % 64 == 0
        else 32
        if width % 32 == 0
        else width
    )
    heads = model.heads or max(1, width // head_width)
    kv_heads = model.kv_heads or heads
    if heads % kv_heads:
        raise ValueError(f"model.kv_heads = {kv_heads} does not divide model.heads = {heads}")
    if plain and (kv_heads != heads or heads * head_width != width):
        raise ValueError(
            f"{model.architecture} needs heads x head_width = width and no kv_heads of their own"
        )
    if pairs and model.tied is False:
        raise ValueError(f"{model.architecture} shares its embedding with the head: tied = true")
    if not plain and head_width % 2:
        raise ValueError(f"model.head_width = {head_width} must be even for rotary positions")
    default_mlp = 4 * width if plain else max(64, round(8 * width / 3 / 64) * 64)
    return Shape(
        depth,
        width,
        heads,
        kv_heads,
        head_width,
        model.mlp_width or default_mlp,
        _always_tied(model) if model.tied is None else model.tied,
        (model.decoder_depth or depth) if pairs else None,
    )


def _width_of(depth: int) -> int:
    return max(64, depth * WIDTH_PER_LAYER)


def _width_near(model: Model, depth: int, vocab_size: int, target: int) -> int:
    """The multiple of 64 (or of 32, for small ones) whose size comes nearest to the target."""
    step = 64 if target >= 3_000_000 else 32
    widths = range(step, 64 * 512, step)
    low, high = 0, len(widths) - 1
    while high - low > 1:
        middle = (low + high) // 2
        shape = _shape(
            model.model_copy(update={"heads": None, "kv_heads": None}), depth, widths[middle]
        )
        if count_parameters(model, shape, vocab_size) <= target:
            low = middle
        else:
            high = middle

    def miss(width: int) -> int:
        shape = _shape(model.model_copy(update={"heads": None, "kv_heads": None}), depth, width)
        return abs(count_parameters(model, shape, vocab_size) - target)

    return min(widths[low], widths[high], key=miss)
