"""`xunlian translate` (and `summarize`): a trained model turns lines into lines."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.lines import STANDARD_INPUT, Watch, open_input, read_lines
from xunlian.console import shown, warn

if TYPE_CHECKING:
    from xunlian.decoding.translate import Translation
    from xunlian.decoding.translator import Translator


def translate(
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
    """The translation of `text`; for several, a list. With `nbest`, a list for each text.

    A setting that is left out is the one of the run's recipe ([decoding]); recipe/settings.py
    explains each. `load(run).translate` does the same and keeps the model for the next call.
    Languages are for models that tell them apart (NLLB, M2M100, mBART); a run of such a one knows
    those that it was trained on.

    Raises:
        InputError: `run` is no run and no model folder, holds a language model, or a value is out
            of its range.
    """
    return load_translator(run, precision, source_language, target_language).translate(
        text, beam=beam, length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens,
        prefix=prefix,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from xunlian.recipe.load import fields

    def about(name: str) -> str:
        text = fields()[f"decoding.{name}"].description or ""
        return (text[0].lower() + text[1:].rstrip(".")).replace("%", "%%")

    parser.add_argument("run", metavar="RUN", help="a run, or a Hugging Face model folder")
    parser.add_argument(
        "--input", metavar="FILE", default=STANDARD_INPUT, help="default: standard input"
    )
    parser.add_argument("--beam", type=int, metavar="N", help=about("beam"))
    parser.add_argument("--length-penalty", type=float, metavar="A", help=about("length_penalty"))
    parser.add_argument("--max-tokens", type=int, metavar="N", help=about("max_tokens"))
    parser.add_argument(
        "--nbest",
        type=int,
        metavar="N",
        help="print the N best of each line, as `line ||| text ||| score`",
    )
    parser.add_argument(
        "--scores", action="store_true", help="print each score before its text, with a tab"
    )
    parser.add_argument(
        "--alignment",
        action="store_true",
        help="print, after each text and ` ||| `, which source word (in Chinese: character) each "
        "word came from, as 0-0 1-2",
    )
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="text that every output begins with"
    )
    add_languages(parser)
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="of the matrix products. auto: the one measured faster. In fp32, a line does not "
        "depend on the others",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each line")
    parser.epilog = (
        "Reads one text on each line and prints its result on the same line, in order; an empty "
        "line stays empty. Settings left out are those of the run's recipe, [decoding]."
    )


def add_languages(parser: argparse.ArgumentParser) -> None:
    for side in ("source", "target"):
        parser.add_argument(
            f"--{side}-language",
            metavar="CODE",
            help=f"of the {side}s, for a model that tells languages apart (NLLB, M2M100, mBART). "
            "Default: that which the run was trained on",
        )


def run(arguments: argparse.Namespace, *, cut: bool = False) -> int:
    """`cut`: of a text that is longer than the context, read the beginning only."""
    from xunlian.decoding.translate import WINDOW, Notes

    with open_input(arguments.input) as file:
        translator = load_translator(
            arguments.run,
            arguments.precision,
            arguments.source_language,
            arguments.target_language,
        )
        search = translator.search(
            beam=arguments.beam, length_penalty=arguments.length_penalty,
            max_tokens=arguments.max_tokens,
            nbest=1 if arguments.nbest is None else arguments.nbest,
            prefix=arguments.prefix, alignment=arguments.alignment, cut=cut,
        )  # fmt: skip
        notes, typed = Notes(), file.isatty()
        window = 1 if typed else WINDOW  # who types a line wants to see what it gives
        with Watch(not typed and not sys.stdout.isatty()) as watch:
            results = translator.loop.lines(
                read_lines(file, arguments.input), search, notes, window=window, watch=watch.done
            )
            for number, found in enumerate(results):
                sys.stdout.write(shown(_format(number, found, arguments)))
                if (number + 1) % window == 0:
                    sys.stdout.flush()
    sys.stdout.flush()
    if told := notes.sentence(translator.engine.config.context):
        warn(told)
    return 0


def load_translator(
    run: str | Path,
    precision: str,
    source_language: str | None = None,
    target_language: str | None = None,
) -> "Translator":
    from xunlian.decoding.translator import prepare_translator
    from xunlian.runs.load import in_languages, load_run

    loaded = in_languages(load_run(run), source_language, target_language)
    return prepare_translator(loaded, precision)


def _format(number: int, found: "list[Translation]", arguments: argparse.Namespace) -> str:
    if arguments.json:
        import orjson

        results: list[dict[str, Any]] = [{"text": t.text, "score": t.score} for t in found]
        if arguments.alignment:
            for result, translation in zip(results, found, strict=True):
                result["alignment"] = translation.alignment
        line = {"line": number, "results": results} if arguments.nbest else results[0]
        return orjson.dumps(line).decode() + "\n"
    rows = []
    for translation in found:
        columns = [" ".join(translation.text.splitlines())]
        if arguments.nbest is not None:
            columns = [str(number), *columns, f"{translation.score:.6f}"]
        elif arguments.scores:
            columns[0] = f"{translation.score:.6f}\t{columns[0]}"
        if translation.alignment is not None:
            columns.append(" ".join(f"{s}-{t}" for s, t in translation.alignment))
        rows.append(" ||| ".join(columns) + "\n")
    return "".join(rows)
