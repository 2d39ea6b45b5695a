"""What a training may begin with: counts, heads that copy, few blocks; and when it may not."""

from xunlian.errors import InputError
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import Recipe
from xunlian.recipe.size import Shape

ROTARY = ("qwen3", "llama", "qwen2", "mistral")
LEAST_COPIED = 1000  # tokens of a vocabulary: of few, each came before


def check_starts(recipe: Recipe, shape: Shape | RecurrentShape) -> None:
    """Refuse what cannot be.

    Args:
        recipe: whose model has its architecture.
        shape: of that model.

    Raises:
        InputError: a start is asked for that does not go with the network or with another one.
    """
    if recipe.training.bigram_start:
        _check_bigrams(recipe, shape)
    if recipe.training.grow_from is not None:
        _check_growth(recipe, shape)
    if recipe.training.copying_start and not _can_copy(recipe, shape):
        raise InputError(
            "training.copying_start is for the architecture qwen3, from random weights, with two "
            "blocks or more that learn from the start (training.grow_from), and without "
            "training.bigram_start, after which attention must add nothing. Leave it out."
        )


def copying_pays(recipe: Recipe, shape: Shape | RecurrentShape, vocab_size: int) -> bool:
    """Whether heads that copy are set up where the recipe does not say.

    A network of 14M parameters was best by far with them where few blocks learn first; where all
    do they cost it 0.09 nats, although small networks gain (docs/speed.md).
    """
    growing = recipe.training.grow_from is not None
    return growing and vocab_size >= LEAST_COPIED and _can_copy(recipe, shape)


def _check_bigrams(recipe: Recipe, shape: Shape | RecurrentShape) -> None:
    """Raises InputError: training/bigram_start.py is asked for where it cannot go first."""
    possible = (
        recipe.task == "language-model"
        and isinstance(shape, Shape)
        and recipe.model.architecture in ROTARY
        and not recipe.model.init_from
    )
    if not possible:
        raise InputError(
            "training.bigram_start is for a language model from random weights, of the "
            f"architectures {', '.join(ROTARY)}. Leave it out."
        )


def _can_copy(recipe: Recipe, shape: Shape | RecurrentShape) -> bool:
    """Whether models/copying.py can write its heads."""
    training = recipe.training
    return (
        isinstance(shape, Shape)
        and recipe.model.architecture == "qwen3"
        and not recipe.model.init_from
        and shape.depth > 1
        and shape.head_width <= shape.width
        and not training.bigram_start
        and training.grow_from != 1
    )


def _check_growth(recipe: Recipe, shape: Shape | RecurrentShape) -> None:
    """Raises InputError: training/growth.py is asked for where it cannot be."""
    possible = (
        recipe.task == "language-model"
        and isinstance(shape, Shape)
        and recipe.model.architecture != "speedrun"
        and not recipe.model.init_from
    )
    if not possible:
        raise InputError(
            "training.grow_from is for a language model from random weights, a Transformer of any "
            "architecture but speedrun. Leave it out."
        )
    first = recipe.training.grow_from
    if first is not None and first >= shape.depth:
        raise InputError(
            f"training.grow_from = {first}, but the network has {shape.depth} blocks. Take fewer, "
            "or leave it out."
        )
    if recipe.training.bigram_start:
        raise InputError(
            "training.bigram_start teaches the last block, which waits with training.grow_from. "
            "Leave one of them out."
        )
