"""Few blocks learn first; the others join when the rate begins to fall.

Notable ideas:
- While the rate is high a network learns what a shallow one can learn, too, and a shallow one
  reads twice the text in the same time. Depth is needed in the last part, where the loss falls most
  (stacking, arXiv 2405.15319; when to grow under Muon, arXiv 2511.04981).
- The matrices that write into the stream start at zero, so a block that has learned nothing is the
  identity, and leaving it out changes nothing. A network that still grows is therefore whole: its
  checkpoints, its `model/` and its validation are those of the network that it will be.
- A block that joins starts as the one below it, but for what it writes, which stays zero.
"""

from dataclasses import replace

import torch

from xunlian.models.decoder import Decoder
from xunlian.recipe.budget import parse_budget
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import Recipe
from xunlian.recipe.size import Shape, training_flops_per_token


def places(first_blocks: int, depth: int) -> list[int]:
    """The numbers of the blocks that learn first, evenly spread over a network of `depth`."""
    return [number * depth // first_blocks for number in range(first_blocks)]


def hold_back(model: Decoder, first_blocks: int) -> None:
    """Let all but `first_blocks` blocks of a network from random weights wait."""
    learning = places(first_blocks, len(model.blocks))
    model.waiting = frozenset(range(len(model.blocks))).difference(learning)


@torch.no_grad()
def grow(model: Decoder) -> None:
    """Let the blocks that wait join."""
    below = model.blocks[0]
    for number, block in enumerate(model.blocks):
        if number not in model.waiting:
            below = block
            continue
        for name, parameter in block.named_parameters():
            if not _writes(name):
                parameter.copy_(below.get_parameter(name))
    model.waiting = frozenset()


def _writes(name: str) -> bool:
    """Whether a parameter of a block writes into the stream, and starts at zero."""
    return ".output." in name


def step_share(recipe: Recipe, vocab_size: int, flops: float) -> float:
    """What a token costs before the network has grown, in what it costs after it: `flops`
    floating-point operations, those of a teacher, who does not grow, among them."""
    shape = shape_of(recipe.model)
    assert isinstance(shape, Shape) and recipe.training.grow_from
    shallow = replace(shape, depth=recipe.training.grow_from)
    few, all_ = (
        training_flops_per_token(recipe.model, one, vocab_size) for one in (shallow, shape)
    )
    return 1 - (all_ - few) / flops


def mean_share(recipe: Recipe, vocab_size: int, flops: float) -> float:
    """What a token costs on the average of the whole training; 1 where nothing grows."""
    training = recipe.training
    if not training.grow_from:
        return 1.0
    assert training.budget
    share, first = step_share(recipe, vocab_size, flops), 1 - training.decay
    if parse_budget(training.budget).unit == "seconds":  # of the time, not of the steps
        return 1 / (first / share + 1 - first)
    return first * share + 1 - first
