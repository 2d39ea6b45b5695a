"""The settings of the language stage: which languages stay, and how sure one must be."""

from pydantic import Field

from xunlian.recipe.table import Table


class Language(Table):
    """Which languages a corpus keeps."""

    keep: tuple[str, ...] = Field(
        (),
        description="Codes of the languages to keep, such as en, zh, ja; zh-Hans and zh-Hant keep "
        "simplified or traditional Chinese alone. Empty: all; the language is only noted.",
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Drop a document whose language is less certain than this; FineWeb takes 0.65.",
    )
