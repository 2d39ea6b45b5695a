"""Networks of several families with the same number of parameters.

The size dial gives each family its own proportions but moves in steps, and a step may be a tenth of
a small network. Here one more number is turned, in small steps, until the counts meet: the hidden
width of a transformer's feed-forward part, the width of a recurrent network.
"""

import contextlib
from collections.abc import Iterable, Sequence

from xunlian.errors import InputError, did_you_mean
from xunlian.recipe.resolve import resolve, shape_of
from xunlian.recipe.settings import Model, Recipe
from xunlian.recipe.size import count_parameters

FAMILIES = ("rnn", "gru", "lstm", "transformer")
SHAPE = ("depth", "decoder_depth", "width", "heads", "kv_heads", "head_width", "mlp_width")
MLP_STEP = 32
MOST_DIFFERENCE = 0.05


def family_names(families: str | Sequence[str]) -> list[str]:
    """The families of 'rnn,lstm' or of a list, each once, in the order given.

    Raises:
        InputError: a name that is no family, or none at all.
    """
    names = families.split(",") if isinstance(families, str) else families
    names = list(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    for name in names:
        if name not in FAMILIES:
            raise InputError(
                f"There is no family '{name}'.{did_you_mean(name, FAMILIES)} There are: "
                f"{', '.join(FAMILIES)}."
            )
    if not names:
        raise InputError(f"Name at least one family: {', '.join(FAMILIES)}.")
    return names


def equal_recipes(
    recipe: Recipe, families: Iterable[str], vocab_size: int
) -> dict[str, tuple[Recipe, int]]:
    """Family -> the recipe with a network of that family, and its number of parameters.

    The recipe's own family keeps the shape that the recipe gives it; the others come as near to its
    size as their steps allow.

    Raises:
        InputError: a family that cannot be so large or so small, or weights to start from.
    """
    if recipe.model.init_from:
        raise InputError(
            f"model.init_from = {recipe.model.init_from} has weights of one family only. Leave it "
            "out of a comparison."
        )
    wanted = count(recipe, vocab_size)
    found: dict[str, tuple[Recipe, int]] = {}
    for family in families:
        if family == recipe.model.family:
            found[family] = recipe, wanted
            continue
        model = recipe.model.model_copy(
            update={"architecture": None, **dict.fromkeys(SHAPE), "family": family}
        )
        near = min(
            (with_model(recipe, m) for m in _around(_dialled(recipe, model, wanted, vocab_size))),
            key=lambda candidate: abs(count(candidate, vocab_size) - wanted),
        )
        parameters = count(near, vocab_size)
        if abs(parameters / wanted - 1) > MOST_DIFFERENCE:
            raise InputError(
                f"With a vocabulary of {vocab_size}, the {family} nearest to the recipe's "
                f"{wanted:,} parameters has {parameters:,}. Choose a larger model.size."
            )
        found[family] = near, parameters
    return found


def count(recipe: Recipe, vocab_size: int) -> int:
    """Every parameter of the recipe's network."""
    model = _resolved(recipe, vocab_size).model
    return count_parameters(model, shape_of(model), vocab_size)


def with_model(recipe: Recipe, model: Model) -> Recipe:
    return recipe.model_copy(update={"model": model})


def _dialled(recipe: Recipe, model: Model, wanted: int, vocab_size: int) -> Model:
    """What the size dial makes of `model`, with every number of its shape."""
    # A step of the dial can be too wide for a small network; there is one a little above, then.
    for stretch in (1, 1.25, 1.6):
        sized = model.model_copy(update={"size": str(round(wanted * stretch))})
        with contextlib.suppress(InputError):
            found = _resolved(with_model(recipe, sized), vocab_size).model
            return found.model_copy(update={"dropout": model.dropout})
    raise InputError(
        f"No {model.family} of {wanted:,} parameters goes with a vocabulary of {vocab_size}. "
        "Choose a larger model.size."
    )


def _around(model: Model) -> list[Model]:
    """Models like this resolved one, a few steps smaller and larger."""
    if model.family == "transformer":
        assert model.mlp_width is not None
        most = model.mlp_width // MLP_STEP
        steps = [{"mlp_width": MLP_STEP * n} for n in range(max(1, most // 2), 2 * most + 1)]
    else:
        assert model.width is not None
        # Matrix products like multiples of 8; of a narrow network these are too far apart.
        step = 8 if model.width >= 256 else 4 if model.width >= 128 else 2
        first = model.width // step
        steps = [{"width": step * n} for n in range(max(4, first - 16), first + 17)]
    return [model.model_copy(update={"size": None, **step}) for step in steps]


def _resolved(recipe: Recipe, vocab_size: int) -> Recipe:
    # Speed and amount of text decide nothing about the shape.
    return resolve(
        recipe, vocab_size=vocab_size, corpus_tokens=1 << 40, matmul_rate=1e11, on_gpu=False
    )
