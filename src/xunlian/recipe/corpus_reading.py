"""How files are read: the table `corpus.reading`."""

from typing import Literal

from pydantic import Field

from xunlian.recipe.table import Table


class Reading(Table):
    """How files of some formats are read."""

    markdown: Literal["keep", "plain"] = Field(
        "keep",
        description="Markdown: keep its marks, or make it plain text. Front matter is always left "
        "out.",
    )
