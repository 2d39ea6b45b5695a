"""The table `corpus`: which text, and how it becomes documents. Its stages have tables of their own
in the files beside this one.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from xunlian.recipe.corpus_clean import Clean
from xunlian.recipe.corpus_dedup import Decontaminate, Deduplicate
from xunlian.recipe.corpus_language import Language
from xunlian.recipe.corpus_privacy import Privacy
from xunlian.recipe.corpus_quality import Quality
from xunlian.recipe.corpus_reading import Reading
from xunlian.recipe.table import Table


class Origin(Table):
    """A source that says where its text comes from."""

    path: str = Field(description="File, folder, glob or URL.")
    name: str = Field("", description="What to call it in the report.")
    licence: str = Field("", description="Its licence, in place of `corpus.licence`.")
    url: str = Field("", description="Where it is from.", pattern=r"^(https?://\S+)?$")


class Ingredient(Table):
    """One of several sources that are mixed."""

    name: str = Field(description="What to call it in reports.")
    sources: tuple[str, ...] = Field(min_length=1, description="Files, folders or globs.")
    weight: float = Field(gt=0, description="Its share of the tokens, relative to the others.")
    licence: str = Field("", description="Its licence, in place of `corpus.licence`.")
    url: str = Field("", description="Where it is from.", pattern=r"^(https?://\S+)?$")


# Told apart by their type, so that a mistake in a table is told as one of the table; tags are no
# identifiers, and so no part of a key.
_TextOrTable = Annotated[
    Annotated[str, Tag("a text")] | Annotated[Origin, Tag("a table")],
    Discriminator(lambda given: "a text" if isinstance(given, str) else "a table"),
]


class Corpus(Table):
    """Which text, and how it becomes documents."""

    path: str | None = Field(
        None,
        description="Corpus folder. Made by `xunlian prepare`, or on the way from `sources`.",
    )
    sources: tuple[_TextOrTable, ...] = Field(
        (),
        description="Files, folders, globs or URLs to prepare when `path` is not there yet: .txt, "
        ".md, .html, .warc, .jsonl, .csv, .tsv, .parquet, .arrow, .pdf, each also .gz, .zst, .bz2 "
        "or .xz, and .zip and .tar. `sample:NAME` is a text that ships with Xunlian. For pairs: "
        "aligned text files two by two (source, target, ...), or files with both sides: .tsv, "
        ".csv, .jsonl, .parquet, .tmx. A source with a licence of its own is written "
        '{path = "wiki/*.gz", name = "Wikipedia", licence = "CC BY-SA 4.0", url = "https://..."}; '
        "all but the path may be left out.",
    )
    mixture: tuple[Ingredient, ...] = Field(
        (),
        description="In place of `sources`: several, each with a name, its sources and a weight: "
        '{name = "wiki", sources = ["wiki/*.gz"], weight = 2}. A source that is small for its '
        "weight is repeated. Each may also have a licence and a url.",
    )
    max_copies: float = Field(
        4.0,
        ge=1,
        description="A source of the mixture is repeated at most so often; then the others are "
        "thinned.",
    )
    val: tuple[str, ...] = Field(
        ("0.05",),
        min_length=1,
        description="Validation text: files, or the fraction of the documents or pairs held out "
        "(of each text's end, when there are fewer than twenty documents).",
    )
    download: tuple[str, ...] = Field(
        (),
        description="Where `prepare --download` gets files of `sources` and `val` that are not "
        "there: 'https://ADDRESS BYTES SHA256' each, for the file of the same name.",
    )
    licence: str = Field(
        "",
        description="Of the text, for the corpus's card and report: such as CC BY-SA 4.0. It holds "
        "for all sources that do not have their own.",
    )
    text_field: str = Field(
        "text", description="Field or column with the text (.jsonl, .csv, .tsv, .parquet, .arrow)."
    )
    source_field: str = Field(
        "source",
        description="Pairs: field or column with the source; in a .tsv also the column's number. "
        "A .tsv without names has the source in column 1 and the target in column 2.",
    )
    target_field: str = Field("target", description="Pairs: field or column with the target.")
    source_language: str | None = Field(
        None,
        description="Pairs: code of the source's language, such as en, de, zh, lzh. Default: the "
        "ending of an aligned file (train.en), or what a .tmx says.",
    )
    target_language: str | None = Field(
        None, description="Pairs: code of the target's language, likewise."
    )
    max_length_ratio: float = Field(
        3.0,
        ge=0,
        description="Translation: drop a pair whose longer side has more than so many times the "
        "characters of the shorter one (a Chinese or Japanese one counts 3, and both sides 10 "
        "more, so that short pairs pass). 0: no limit.",
    )
    documents: Literal["file", "paragraph", "line", "wiki"] = Field(
        "file",
        description="What one document is in a .txt file: the whole file, a paragraph (blank line "
        "between), a line, or what stands between <doc ...> and </doc> (wiki: WikiExtractor's "
        "files).",
    )
    encoding: str = Field(
        "auto", description="Encoding of text files. `auto` knows UTF-8, UTF-16, GB18030 and Big5."
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="At a broken line or record: stop and name it, or skip and count it."
    )

    reading: Reading = Field(Reading(), description="How files of some formats are read.")
    clean: Clean | None = Field(
        None,
        description="Clean the text thoroughly. By default only line ends, control "
        "characters and the normal form of Unicode.",
    )
    language: Language | None = Field(None, description="Keep certain languages.")
    quality: Quality | None = Field(None, description="Drop poor text.")
    privacy: Privacy | None = Field(None, description="Mask personal data.")
    decontaminate: Decontaminate | None = Field(
        None, description="Drop what a model will be evaluated on."
    )
    deduplicate: Deduplicate | None = Field(None, description="Drop copies.")

    bias_audit: bool = Field(
        False,
        description="Count how often groups (gender, region, religion, age, occupation) occur and "
        "in whose company, for the corpus's report.",
    )

    @property
    def source_paths(self) -> tuple[str, ...]:
        """What `sources` names: files, folders, globs and URLs."""
        return tuple(one if isinstance(one, str) else one.path for one in self.sources)

    @property
    def names_text(self) -> bool:
        """Whether it says which text to prepare."""
        return bool(self.sources or self.mixture)

    @field_validator("clean", "language", "quality", "privacy", "deduplicate", mode="before")
    @classmethod
    def _on_or_off(cls, value: Any) -> Any:
        """true: with its defaults; false: not at all."""
        return {} if value is True else None if value is False else value

    @field_validator("download")
    @classmethod
    def _check_download(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            split_download(entry)
        return value

    @field_validator("val", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """A lone file or fraction needs no brackets."""
        items = value if isinstance(value, (tuple, list)) else (value,)
        numbers = (int, float)
        return tuple(str(item) if isinstance(item, numbers) else item for item in items)


def split_download(entry: str) -> tuple[str, int, str]:
    """'https://ADDRESS BYTES SHA256' -> its parts.

    Raises:
        ValueError: not such an entry.
    """
    match = re.fullmatch(r"(https://\S+)\s+(\d+)\s+([0-9a-f]{64})", entry)
    if not match:
        raise ValueError(f"'{entry}' is not https://ADDRESS BYTES SHA256")
    return match[1], int(match[2]), match[3]
