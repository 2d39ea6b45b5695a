"""The table of the stage that cleans texts: what of a web page is kept, and how it is written."""

from typing import Literal

from pydantic import Field

from xunlian.recipe.table import Table


class Clean(Table):
    """How texts are freed of what does not belong to them."""

    html: Literal["fast", "precision"] = Field(
        "fast",
        description="How the main content of web pages is found. fast: Resiliparse and rules for "
        "lines. precision: Trafilatura, about ten times slower, drops more of what is doubtful.",
    )
    unicode: Literal["nfc", "nfkc"] = Field(
        "nfc",
        description="Normal form of the text. nfkc also rewrites look-alikes: ligatures, circled "
        "and superscript digits, all full-width forms, Chinese punctuation included.",
    )
    mojibake: bool = Field(
        True,
        description="Repair text that was read in the wrong encoding, such as 'cafÃ©' and '涓枃', "
        "where its signs appear.",
    )
    markup: bool = Field(
        True,
        description="Take HTML tags and entities (<br>, &nbsp;) out of plain text.",
    )
    boilerplate: bool = Field(
        True,
        description="Drop short lines that belong to a web site: cookie notices, share buttons, "
        "'All rights reserved', 版权所有, 责任编辑, 上一篇, 扫一扫.",
    )
    width: Literal["letters", "punctuation", "keep"] = Field(
        "letters",
        description="Full-width ASCII becomes half-width. letters: letters and digits only, so "
        "that Chinese punctuation stays. punctuation: punctuation, too.",
    )
    punctuation: Literal["keep", "normalize"] = Field(
        "keep",
        description="normalize: straight quotes, '-' and '...' in lines without Chinese; "
        "full-width commas and stops between Chinese characters; at most three of a mark in a row.",
    )
    han: Literal["keep", "simplified", "traditional"] = Field(
        "keep", description="Write Chinese in simplified or in traditional characters (OpenCC)."
    )
