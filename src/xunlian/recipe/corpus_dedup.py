"""The settings of a corpus's deduplication and decontamination."""

from typing import Literal

from pydantic import Field

from xunlian.recipe.table import Table


class Deduplicate(Table):
    """Which copies are dropped."""

    similarity: float = Field(
        0.8,
        ge=0.4,
        le=1,
        description="Of documents that have at least this share of their sequences of five words "
        "(or Chinese characters) in common, only the longest is kept. 1: drop exact copies only "
        "(the same but for case, width and white space).",
    )
    paragraphs: int = Field(
        200,
        ge=0,
        description="Of a line of at least so many characters (a Chinese one counts 3) only the "
        "first copy in the corpus is kept. 0: keep all.",
    )


class Decontaminate(Table):
    """What a model will be evaluated on and must not be trained on."""

    sets: tuple[str, ...] = Field(
        (),
        description="Evaluation sets: files of one example a line (.txt), or of records whose "
        "texts are all examples (.jsonl); each also .gz or .zst.",
    )
    overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A document is contaminated when it has at least this share of an example's "
        "sequences of `tokens` words (or Chinese characters).",
    )
    tokens: int = Field(
        13,
        ge=5,
        le=100,
        description="Length of a sequence. A shorter example is looked for as a whole, down to "
        "eight words, or `tokens` when that is less.",
    )
    action: Literal["drop", "report"] = Field(
        "drop", description="Drop contaminated documents, or only count them."
    )
