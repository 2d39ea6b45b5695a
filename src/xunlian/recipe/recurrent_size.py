"""The shape of a recurrent network: RNN, GRU or LSTM.

Two layers, as they were used, and wider the more parameters there are; a third above 30 million.
"""

from dataclasses import dataclass, replace

from xunlian.recipe.settings import Model, parse_size

GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # as in models/recurrence.py
DEEPER_FROM = 30_000_000
USUAL_WIDTH = 384
MOST_EMBEDDINGS, MOST_MISS = 0.6, 0.3  # as in size.py
UNFIT = ("architecture", "heads", "kv_heads", "head_width", "mlp_width")
"""Settings of a transformer only."""


@dataclass(frozen=True)
class RecurrentShape:
    """The resolved shape; `decoder_depth` only where there is an encoder, too."""

    depth: int
    width: int
    tied: bool
    decoder_depth: int | None = None


def derive_recurrent_shape(model: Model, vocab_size: int, pairs: bool) -> RecurrentShape:
    """Fill in what the recipe's [model] table leaves open.

    Raises:
        ValueError: the given values cannot be combined.
    """
    for name in UNFIT:
        if getattr(model, name) is not None:
            raise ValueError(
                f"model.{name} is a setting of transformers; a model.family = {model.family} has "
                "depth and width only"
            )
    if pairs and model.tied is False:
        raise ValueError(
            "a recurrent network for pairs shares its embedding with the head: model.tied = true"
        )
    target = parse_size(model.size) if model.size else 0
    depth = model.depth or (2 if target < DEEPER_FROM else 3)
    shape = RecurrentShape(
        depth,
        model.width or USUAL_WIDTH,
        pairs or bool(model.tied),
        (model.decoder_depth or depth) if pairs else None,
    )
    if pairs and shape.width % 2:
        raise ValueError(
            f"model.width = {shape.width} must be even: the encoder reads in two directions"
        )
    if model.depth or model.width or not target:
        return shape
    shape = _nearest(model, shape, vocab_size, target)
    if model.tied is None and 2 * vocab_size * shape.width > MOST_EMBEDDINGS * target:
        shape = _nearest(model, replace(shape, tied=True), vocab_size, target)
    found = count_recurrent_parameters(model, shape, vocab_size)
    if abs(found / target - 1) > MOST_MISS:
        raise ValueError(
            f"model.size = {model.size} does not go with a vocabulary of {vocab_size}: the nearest "
            f"network has {found:,} parameters. Choose another size or a smaller vocabulary, or "
            "give model.depth and model.width"
        )
    return shape


def _nearest(model: Model, shape: RecurrentShape, vocab_size: int, target: int) -> RecurrentShape:
    """The shape with the width, a multiple of 32, whose size comes nearest to the target."""
    low, high = 1, 1024
    while high - low > 1:
        middle = (low + high) // 2
        here = replace(shape, width=32 * middle)
        if count_recurrent_parameters(model, here, vocab_size) <= target:
            low = middle
        else:
            high = middle
    return min(
        (replace(shape, width=32 * n) for n in (low, high)),
        key=lambda s: abs(count_recurrent_parameters(model, s, vocab_size) - target),
    )


def count_recurrent_parameters(model: Model, shape: RecurrentShape, vocab_size: int) -> int:
    """Every parameter of the network, the embeddings included."""
    width, depth = shape.width, shape.depth
    embeddings = vocab_size * width * (1 if shape.tied else 2)
    # A norm for each layer, and one before the head.
    if shape.decoder_depth is None:
        return embeddings + depth * (_layer(model, width, width) + width) + width
    encoder = depth * (2 * _layer(model, width, width // 2) + width) + width
    decoder = shape.decoder_depth * (_layer(model, width, width) + width) + width
    states = 2 if model.family == "lstm" else 1
    bridge = shape.decoder_depth * states * (width**2 + width)
    attention = 3 * width**2 + width  # with its norm
    return embeddings + encoder + decoder + bridge + attention


def recurrent_matrices(model: Model, shape: RecurrentShape) -> tuple[int, int]:
    """Parameters that a source token, and a target token or one of a text, is multiplied with."""
    gates, width = GATES[model.family], shape.width
    if shape.decoder_depth is None:
        return 0, shape.depth * gates * 2 * width**2
    return (
        shape.depth * gates * (width + width // 2) * width,
        shape.decoder_depth * gates * 2 * width**2 + 3 * width**2,
    )


def _layer(model: Model, inputs: int, width: int) -> int:
    gates = GATES[model.family] * width
    biases = 2 if model.family == "gru" else 1
    return gates * (inputs + width + biases)
