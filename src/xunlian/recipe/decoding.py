"""The table `decoding`: how a trained model writes."""

from pydantic import Field

from xunlian.recipe.table import Table


class Decoding(Table):
    """How text is generated from a trained model."""

    max_tokens: int = Field(200, ge=1, description="At most so many new tokens.")
    temperature: float = Field(0.8, ge=0, description="0: always the most probable token.")
    top_k: int = Field(0, ge=0, description="Choose among the k most probable tokens. 0: all.")
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Choose among the most probable tokens that together have this probability.",
    )
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Leave out tokens less probable than this fraction of the most probable one.",
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="Above 1: tokens that occurred become less probable."
    )
    stop: tuple[str, ...] = Field((), description="Stop at any of these strings.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the sampling. Default: a new one each time."
    )
    beam: int = Field(
        5, ge=1, description="Translations that are followed at a time. 1: greedy, the fastest."
    )
    length_penalty: float = Field(
        1.0,
        ge=-10,
        le=10,
        description="A translation scores log p / length^this: above 0 favours long ones.",
    )
