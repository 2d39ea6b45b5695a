"""What a corpus says of itself: its card, and the page that shows it to people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

import xunlian
from xunlian.corpus.fertility import fertility, overall
from xunlian.corpus.origins import with_origins
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.stages.privacy import mask
from xunlian.corpus.tally import Tally
from xunlian.recipe.load import to_toml
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.report.corpus_page import CorpusData, PageSample, render_corpus
from xunlian.report.units import format_bytes, short_number
from xunlian.shards.corpus import FORMAT
from xunlian.tokenizer.tokenizer import Tokenizer
from xunlian.tokenizer.train import KINDS

_SHOWN = 400  # characters of an example
_NAMED = 3  # sources in the title
_COMPANY = 40  # rows of the bias audit on the page: the most unusual ones


@dataclass(frozen=True)
class Made:
    """What a preparation has made.

    Attributes:
        sources: by source of the mixture, or under ''.
        val: the files to validate on; none where a fraction is held out.
        stages: what each stage did, over all parts.
        splits: their cards.
        measured: texts to measure fertility on.
        languages, lengths: documents by language, and by the power of two of their characters.
        pages: some of the web pages among the input.
        duplicates: (copies of one document, such groups); clusters: the texts of some groups.
        aside: what could not be read: (file, place in it, reason), the first of each part.
        bias: the tables of the audit (stages/bias.py); none where it was not asked for.
    """

    sources: Mapping[str, list[Source]]
    val: list[Source]
    stages: Mapping[str, Tally]
    splits: dict[str, dict[str, Any]]
    mixture: dict[str, dict[str, Any]]
    tokenizer: Tokenizer
    dtype: np.dtype
    measured: list[str]
    pages: list[PageSample]
    languages: Mapping[str, int]
    lengths: Mapping[int, int]
    duplicates: list[tuple[str, int]]
    clusters: list[list[str]]
    bias: dict[str, list[dict[str, Any]]]
    aside: list[tuple[str, str, str]]


def card_of(made: Made, corpus: CorpusSettings, tokenizer: TokenizerSettings) -> dict[str, Any]:
    """What goes into corpus.json. No time stamps: the same input gives the same bytes."""
    read, clean = made.stages["read"].changes, made.stages["clean"].changes
    return {
        "format": FORMAT,
        "xunlian": xunlian.__version__,
        "sources": with_origins(corpus, made.sources),
        "val": _names(made.val) if made.val else corpus.val[0],
        "reading": corpus.model_dump(include={"text_field", "documents", "encoding"}),
        "dropped": {key: read[key] for key in ("empty_documents", "broken_records")},
        "cleaned": {
            "line_ends": read["line_ends"] + clean["line_ends"],
            "control_characters": clean["control_characters"],
            "pieces_normalized": clean["pieces_normalized"],
        },
        **({"set_aside": made.aside} if made.aside else {}),
        "stages": {name: _counts(tally) for name, tally in made.stages.items()},
        **({"languages_found": dict(made.languages)} if made.languages else {}),
        **({"bias": made.bias} if made.bias else {}),
        **({"mixture": made.mixture} if made.mixture else {}),
        "splits": made.splits,
        "tokenizer": {
            "kind": tokenizer.kind if tokenizer.kind in KINDS else "given",
            "vocab_size": made.tokenizer.vocab_size,
            "end_id": made.tokenizer.end_id,
            "fingerprint": made.tokenizer.fingerprint,
        },
        "fertility": overall(made.splits) | fertility((made.measured, made.tokenizer)),
        "dtype": made.dtype.name,
    }


def page_of(
    made: Made,
    card: dict[str, Any],
    corpus: CorpusSettings,
    tokenizer: TokenizerSettings,
) -> str:
    """The report of the corpus, as HTML."""
    train, val = made.splits["train"], made.splits["val"]
    given = made.stages["read"].bytes
    kept = sum(split["bytes"] for split in made.splits.values())
    ratio = card["fertility"]
    facts = {
        "Documents held out": f"{val['documents']:,}",
        "Tokens held out": f"{val['tokens']:,}",
        "Tokenizer": f"{card['tokenizer']['kind']}, {made.tokenizer.vocab_size:,} tokens",
        "Tokens per byte": f"{ratio['tokens_per_byte']:.3f}",
    }
    if ratio["english_tokens_per_word"]:
        facts["Tokens per English word"] = f"{ratio['english_tokens_per_word']:.2f}"
    if ratio["chinese_tokens_per_character"]:
        facts["Tokens per Chinese character"] = f"{ratio['chinese_tokens_per_character']:.2f}"
    settings = to_toml(Recipe(corpus=corpus, tokenizer=tokenizer))
    data = CorpusData(
        title=_title(corpus),
        headline={
            "Documents to train on": f"{train['documents']:,}",
            "Tokens": short_number(train["tokens"]),
            "Text": format_bytes(train["bytes"]),
            "Kept of what was read": f"{100 * kept / max(1, given):.3g}%",
        },
        stages=[
            {"name": name, **tally.plain(), "examples": _examples(tally, corpus)}
            for name, tally in made.stages.items()
        ],
        pages=made.pages,
        languages=dict(sorted(made.languages.items(), key=lambda item: (-item[1], item[0]))),
        lengths=made.lengths,
        duplicates=made.duplicates,
        clusters=made.clusters,
        groups=made.bias.get("groups", []),
        company=made.bias.get("company", [])[:_COMPANY],
        aside=made.aside,
        mixture=made.mixture,
        sources=card["sources"],
        facts=facts,
        settings=settings[: settings.index("[model]")].strip(),
        made_with=f"Xunlian 迅练 {xunlian.__version__}",
    )
    return render_corpus(data)


def _examples(tally: Tally, corpus: CorpusSettings) -> dict[str, list[tuple[str, str]]]:
    """What was left out before the privacy stage is shown as that would have left it."""
    kinds = corpus.privacy.mask if corpus.privacy else ()
    shown = {}
    for reason, examples in tally.examples.items():
        texts, _ = mask([text for _, text in examples], kinds)
        shown[reason] = [
            (name, text[:_SHOWN]) for (name, _), text in zip(examples, texts, strict=True)
        ]
    return shown


def _title(corpus: CorpusSettings) -> str:
    """By what it was made from, not by its folder's name: the same input gives the same bytes."""
    names = [item.name for item in corpus.mixture]
    for one in corpus.sources:
        path, name = (one, "") if isinstance(one, str) else (one.path, one.name)
        names.append(name or PurePath(path).name or path)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _names(sources: list[Source]) -> list[dict[str, Any]]:
    return [{"name": source.name, "bytes": source.size} for source in sources]


def _counts(tally: Tally) -> dict[str, Any]:
    plain = tally.plain()
    del plain["examples"]
    return plain
