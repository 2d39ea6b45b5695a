"""The settings of the quality stage: which rules a document must pass."""

from typing import Literal

from pydantic import Field

from xunlian.recipe.table import Table

Rules = Literal["gopher", "repetition", "c4", "fineweb"]


class Quality(Table):
    """Which documents are dropped as poor text, and which lines of the others."""

    rules: tuple[Rules, ...] = Field(
        ("gopher", "repetition", "c4", "fineweb"),
        description="Published rules with their limits, for Chinese in characters. gopher: words, "
        "symbols, stop words; repetition: Gopher's on repeated lines and n-grams; c4: filler, "
        "scripts, policies, too few sentences; fineweb: lists, short and repeated lines.",
    )
    min_words: int = Field(
        50,
        ge=0,
        description="gopher: fewest words of a document; a Chinese one needs 1.6 characters for "
        "each.",
    )
    end_marks: bool = Field(
        False,
        description="c4: drop every line that does not end in a punctuation mark, as C4 did. It "
        "costs headings, lists and verse.",
    )
    keywords: tuple[str, ...] = Field(
        (),
        description="Drop documents that hold one of these words or phrases, in either case; in "
        "English whole words.",
    )
    patterns: tuple[str, ...] = Field(
        (), description="Drop documents in which one of these regular expressions is found."
    )
    pattern_seconds: float = Field(
        1.0,
        gt=0,
        description="What a regular expression may take for a document, which is dropped as "
        "`slow_pattern` after that.",
    )
    classifier: str | None = Field(
        None, description="File of a classifier that `xunlian classifier` trained from examples."
    )
    classifier_threshold: float = Field(
        0.5, ge=0, le=1, description="Drop documents whose score, from 0 to 1, is below it."
    )
