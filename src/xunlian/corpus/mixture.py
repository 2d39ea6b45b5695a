"""How often each of several sources is written, so that their tokens have the weights asked for.

A source that is small for its weight is repeated, at most `max_copies` times (four epochs of the
same text are nearly as good as new text, arXiv 2305.16264); where that is not enough, the others
are thinned.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xunlian.errors import InputError
from xunlian.recipe.corpus import Ingredient


def copies_of(
    tokens: Mapping[str, int], weights: Mapping[str, float], max_copies: float
) -> dict[str, float]:
    """Source -> how often its documents are written; a fraction stands for as many of them.

    No source is thinned unless another would need more than `max_copies`.

    Raises:
        InputError: a source with a weight has no text.
    """
    for name in weights:
        if not tokens.get(name):
            raise InputError(f"corpus.mixture: nothing is left of '{name}'. Leave it out.")
    largest = max(tokens[name] / weight for name, weight in weights.items())
    most = min(max_copies * tokens[name] / weight for name, weight in weights.items())
    scale = min(largest, most)
    return {name: scale * weight / tokens[name] for name, weight in weights.items()}


def mixed(
    tokens: Mapping[str, int], mixture: Sequence[Ingredient], max_copies: float
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """(source -> how often its documents are written, what the card says of each)."""
    weights = {item.name: item.weight for item in mixture}
    copies = copies_of(tokens, weights, max_copies)
    total = sum(tokens[name] * copies[name] for name in weights)
    told = {
        name: {
            "weight": weights[name],
            "tokens": tokens[name],
            "copies": round(copies[name], 4),
            "share": round(tokens[name] * copies[name] / total, 4),
        }
        for name in weights
    }
    return copies, told
