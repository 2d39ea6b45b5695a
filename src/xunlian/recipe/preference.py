"""The table of a training on preferences: better and worse answers to the same prompt."""

from typing import Literal

from pydantic import Field

from xunlian.recipe.table import Table

BETA = {"dpo": 0.1, "orpo": 0.1, "simpo": 2.0}
"""The default of each method, from its paper's experiments."""


class Preference(Table):
    """How a model learns from preferences."""

    method: Literal["dpo", "orpo", "simpo"] = Field(
        "dpo",
        description="dpo (arXiv 2305.18290) compares with the model that the training starts from, "
        "whose probabilities are computed once and kept; orpo (arXiv 2403.07691) and simpo (arXiv "
        "2405.14734) need none. training.label_smoothing is how often a preference is taken to be "
        "the wrong way round (dpo, simpo).",
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="dpo: how firmly the model is held to the one it starts from (less is looser); "
        "simpo: scale of the reward; orpo: weight of the odds ratio beside the likelihood of the "
        "chosen answer. Default: 0.1, and 2 for simpo.",
    )
    gamma: float = Field(
        1.0,
        ge=0,
        description="simpo: by how much the reward of the chosen answer shall exceed the other's.",
    )
