"""What a recurrent network keeps in memory for its backward pass.

The constants were found by counting what one layer allocates on a CPU, of every family, in widths
of 128 and 256, in bf16 and fp32. Said and counted agree within a sixth.

An LSTM's workspace (oneDNN) has room for two layers where there is one. While all batches have one
shape, what is never written takes no memory. Batches of pairs differ in shape: each lies otherwise
in the heap, which is written all over, and keeps holes that fit none of the others.

Shapes: D width, L steps of a row.
"""

from xunlian.recipe.recurrent_size import GATES, RecurrentShape
from xunlian.recipe.settings import Model

# An LSTM of 4 + 4 layers of 128 on Tatoeba, 23 shapes: its largest batch needs 1.0 GB, and the heap
# came to 1.33 GB within 16 steps and stayed there.
HOLES = 1 / 3


def kept_of_recurrent(
    model: Model, shape: RecurrentShape, rows: int, source: int, target: int, real: int
) -> int:
    """Bytes kept for `rows` rows of `source` and `target` places; `real` is the size of a value.

    A text has its places on the target side.
    """
    width, family = shape.width, model.family
    dropping = (1 + real) * width if model.dropout else 0
    # The input and the normed input of a norm, both in fp32; normed, h, and their sum.
    added = width * ((8 if real == 2 else 4) + 3 * real) + dropping
    text = shape.decoder_depth is None
    block = added + _layer(family, target, width, width, real, written=text)
    if shape.decoder_depth is None:
        kept = rows * target * (shape.depth * block + added)
    else:
        # In both directions, each half as wide; what the backward one reads and gives is turned.
        both = added + width * real + 2 * _layer(family, source, width, width // 2, real)
        attention = added + width * 4 * real + source * (8 + real)
        kept = rows * source * (shape.depth * both + added)
        kept += rows * target * (shape.decoder_depth * block + attention + added)
    return kept if text else round(kept * (1 + HOLES))


def passing_of_recurrent(model: Model, shape: RecurrentShape, places: int, real: int) -> int:
    """Bytes of the gradients of one layer's gates, in the backward pass of `places` places."""
    return places * 2 * GATES[model.family] * shape.width * real


def _layer(
    family: str, steps: int, inputs: int, width: int, real: int, *, written: bool = False
) -> int:
    """Bytes that the library's layer keeps of one token; `written`: only those it writes."""
    if family == "rnn":
        return 0  # h is enough
    if family == "gru":
        return round(6.4 * real * width)  # gates, and what they are made of
    # oneDNN's workspace has room for the backward pass from the beginning: for each step and one
    # more, below the layer and above it, inputs and h, their gradients in fp32, and c in fp32.
    states = max(inputs, width) * (2 * real + 16) + width * (2 * real + 8)
    if written:
        states = max(inputs, width) * (2 * real + 8) + width * (real + 4)
    return round((1 + 1 / steps) * states + 6.25 * real * width)


def recurrent_weights(model: Model, shape: RecurrentShape, real: int) -> int:
    """Bytes of the largest weights in other types and places."""
    layers = shape.depth + (shape.decoder_depth or 0)
    return 4 * GATES[model.family] * shape.width**2 * real * layers
