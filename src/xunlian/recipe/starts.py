"""What a training may begin with: counts, heads that copy, few blocks; and when it may not."""

from xunlian.errors import InputError
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import Recipe
from xunlian.recipe.size import Shape

ROTARY = ("qwen3", "llama", "qwen2", "mistral")
LEAST_COPIED = 1000  # tokens of a vocabulary: of few, each came before
FIRST_BLOCKS, LEAST_DEPTH = 2, 4
LONGEST_GROWN = 5_000_000  # tokens of a training; of twice as many it saves time, not loss
LEAST_DECAY = 0.3


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
    if recipe.training.grow_from:
        _check_growth(recipe, shape)
    if recipe.training.copying_start and not _can_copy(recipe, shape):
        raise InputError(
            "training.copying_start is for the architecture qwen3, from random weights, with two "
            "blocks or more that learn from the start (training.grow_from), and without "
            "training.bigram_start, after which attention must add nothing. Leave it out."
        )


def choose_starts(
    recipe: Recipe,
    shape: Shape | RecurrentShape,
    vocab_size: int,
    *,
    tokens: float,
    corpus_tokens: int,
    on_gpu: bool,
) -> dict[str, int | bool]:
    """`grow_from` and `copying_start`: what the recipe says, else what pays (docs/speed.md).

    Together they save a part of the time, and a quarter of a nat. Heads that copy are for networks
    that grow: where all six blocks of one learned from the start, the others disturbed them.

    Args:
        tokens: of the whole training, of a budget in seconds by a low estimate.
        corpus_tokens: of the training split.
    """
    training = recipe.training
    copying_pays = vocab_size >= LEAST_COPIED and _can_copy(recipe, shape)
    growing_pays = (
        copying_pays
        and training.copying_start is not False
        and recipe.task == "language-model"
        and isinstance(shape, Shape)
        and shape.depth >= LEAST_DEPTH
        and tokens <= LONGEST_GROWN
        and tokens <= corpus_tokens  # heads lose where text is read again and again
        and training.decay >= LEAST_DECAY  # the others join when the rate begins to fall
        and training.optimizer != "adamw"
        and not recipe.distill
        and not on_gpu  # where a step is recorded anew when the others join: not tried yet
    )
    grow_from, copying = training.grow_from, training.copying_start
    if grow_from is None:
        grow_from = FIRST_BLOCKS if growing_pays else 0
    if copying is None:
        copying = copying_pays and grow_from > 0
    return {"grow_from": grow_from, "copying_start": copying}


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
