"""The table of an adapter: small trained matrices beside frozen ones."""

from typing import Literal

from pydantic import Field, field_validator

from xunlian.recipe.table import Table

ALL_LINEAR = "all-linear"


class Adapter(Table):
    """Train low-rank changes of a model's matrices instead of the matrices themselves."""

    kind: Literal["lora", "dora"] = Field(
        "lora",
        description="lora (arXiv 2106.09685) adds a product of two small matrices to each of the "
        "model's, which stay as they are; dora (arXiv 2402.09353) also learns the length of each "
        "row, and takes longer. Either needs model.init_from.",
    )
    rank: int = Field(16, ge=1, description="Rows of the small matrices.")
    alpha: float | None = Field(
        None, gt=0, description="The product is scaled by alpha / rank. Default: twice the rank."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout rate on what the small matrices read."
    )
    frozen: Literal["nf4", "int8"] | None = Field(
        None,
        description="Keep the matrices of the blocks in few bits: nf4 in 4 (QLoRA, arXiv "
        '2305.14314; needs pip install "xunlian[quantized]"), int8 in 8, scaled by rows (as in '
        "arXiv 2208.07339). Saves memory, not time. Default: in the type of the computation.",
    )
    targets: tuple[str, ...] = Field(
        (ALL_LINEAR,),
        min_length=1,
        description="Which matrices: all-linear (all of the blocks), or names as Transformers has "
        "them, such as q_proj and v_proj.",
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        """A lone name needs no brackets."""
        return (value,) if isinstance(value, str) else value

    @property
    def scale(self) -> float:
        """What the product of the small matrices is multiplied with."""
        return (2 * self.rank if self.alpha is None else self.alpha) / self.rank
