"""`xunlian summarize`: as translate, but of a text that is too long it reads the beginning."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from xunlian.commands import translate as _translate

add_arguments = _translate.add_arguments


def summarize(
    run: str | Path,
    text: str | Sequence[str],
    *,
    beam: int | None = None,
    length_penalty: float | None = None,
    nbest: int | None = None,
    max_tokens: int | None = None,
    prefix: str = "",
    source_language: str | None = None,
    target_language: str | None = None,
    precision: str = "auto",
) -> str | list[str] | list[list[str]]:
    """The summary of `text`, as `xunlian.translate` gives a translation.

    Raises:
        InputError: `run` is no run and no model folder, holds a language model, or a value is out
            of its range.
    """
    translator = _translate.load_translator(run, precision, source_language, target_language)
    return translator.summarize(
        text, beam=beam, length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens,
        prefix=prefix,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    return _translate.run(arguments, cut=True)
