"""`xunlian backtranslate`: text in the target's language becomes pairs to train on.

A model of the other direction translates the text; what it writes is the source of a pair, the text
its target (Sennrich et al. 2016, arXiv 1511.06709). A tag before such sources (arXiv 1906.06442)
was measured, too, and cost two BLEU: docs/translate.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from pathlib import Path

from xunlian.commands.lines import STANDARD_INPUT, Watch, open_input, read_lines
from xunlian.commands.translate import add_languages


def backtranslate(
    run: str | Path,
    texts: Iterable[str],
    *,
    beam: int = 1,
    source_language: str | None = None,
    target_language: str | None = None,
    precision: str = "auto",
    watch: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[str, str]]:
    """Pairs (source, target) of which `texts` are the targets, in order, as they are ready.

    Left out are texts that are empty, and those whose translation is empty or a copy.

    Args:
        run: translates from the target's language to the source's.
        source_language, target_language: as `translate` takes them: what the run reads and writes.
        watch: told how many texts were just translated.

    Raises:
        InputError: `run` is no run and no model folder, holds a language model, or a value is out
            of its range.
    """
    from xunlian.commands.translate import load_translator
    from xunlian.console import warn
    from xunlian.decoding.translate import Notes

    translator = load_translator(run, precision, source_language, target_language)
    search, notes = translator.search(beam=beam), Notes()
    sources, targets = tee(filter(None, map(_cell, texts)))
    # In this order: what a window reads ahead is held until its targets follow.
    for found, target in zip(
        translator.loop.lines(sources, search, notes, watch=watch), targets, strict=True
    ):
        source = _cell(found[0].text)
        if source and source != target:
            yield source, target
    if told := notes.sentence(translator.engine.config.context):
        warn(told)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", help="a run from the target's language to the source's"
    )
    parser.add_argument(
        "--input", metavar="FILE", default=STANDARD_INPUT, help="default: standard input"
    )
    parser.add_argument(
        "--beam",
        type=int,
        metavar="N",
        default=1,
        help="translations that are followed at a time. Default: 1, greedy",
    )
    add_languages(parser)
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="of the matrix products. auto: the one measured faster",
    )
    parser.epilog = (
        "Reads one text on each line and prints its translation, a tab and the text itself: a .tsv "
        "that `xunlian prepare --pairs` takes beside the pairs you have. Lines that are empty are "
        "left out, and those whose translation is empty or a copy."
    )


def run(arguments: argparse.Namespace) -> int:
    with (
        open_input(arguments.input) as file,
        Watch(not file.isatty() and not sys.stdout.isatty()) as watch,
    ):
        for source, target in backtranslate(
            arguments.run,
            read_lines(file, arguments.input),
            beam=arguments.beam,
            source_language=arguments.source_language,
            target_language=arguments.target_language,
            precision=arguments.precision,
            watch=watch.done,
        ):
            sys.stdout.write(f"{source}\t{target}\n")
    return 0


def _cell(text: str) -> str:
    """The text as a column of a .tsv, which ends with a tab or a line end."""
    return " ".join(text.splitlines()).replace("\t", " ").strip()
