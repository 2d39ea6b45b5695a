"""`xunlian generate`: a trained model continues text."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xunlian.commands.common import add_json, print_json
from xunlian.console import shown

if TYPE_CHECKING:
    from xunlian.decoding.model import Continuation, LoadedModel
    from xunlian.decoding.translator import Translator
    from xunlian.recipe.settings import Decoding

STANDARD_INPUT = "-"


def load(
    run: str | Path,
    *,
    source_language: str | None = None,
    target_language: str | None = None,
    precision: str = "auto",
) -> "LoadedModel | Translator":
    """Open a run, or a Hugging Face model folder, for generating or translating.

    Args:
        run: the folder.
        source_language, target_language: for a translator that tells languages apart; a run of
            such a one knows those that it was trained on.
        precision: of the matrix products: 'fp32', 'bf16', or 'auto', the one measured faster.

    Raises:
        InputError: it is neither, or something in it is missing, damaged or does not fit.
    """
    from xunlian.decoding.model import prepare_model
    from xunlian.runs.load import in_languages, load_run

    loaded = load_run(run)
    if source_language or target_language:
        loaded = in_languages(
            loaded, source_language, target_language, "source_language and target_language"
        )
    return prepare_model(loaded, precision)


def generate(
    run: str | Path,
    prompt: str | Sequence[str] = "",
    *,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    precision: str = "auto",
) -> str | list[str]:
    """The text that follows `prompt`, without the prompt; for several, a list of texts.

    A setting that is left out is the one of the run's recipe ([decoding]); recipe/settings.py
    explains each. `load(run).generate` does the same and keeps the model for the next call.

    Raises:
        InputError: `run` is no run and no model folder, or a value is out of its range.
    """
    return _load_language_model(run, precision).generate(
        prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k,
        min_p=min_p, repetition_penalty=repetition_penalty, stop=stop, seed=seed,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run, or a Hugging Face model folder")
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="text to continue; may be given several times. Default: none, a new text begins",
    )
    parser.add_argument(
        "--prompts-file",
        metavar="FILE",
        help="a file with one prompt on each line; - reads standard input",
    )
    add_sampling(parser)
    add_json(parser)
    parser.epilog = (
        "Settings left out are those of the run's recipe, [decoding]. Prompt and "
        "continuation go to standard output."
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The options that say how text is generated."""
    from xunlian.recipe.load import fields

    def about(name: str) -> str:
        text = fields()[f"decoding.{name}"].description or ""
        return (text[0].lower() + text[1:].rstrip(".")).replace("%", "%%")

    for flag, kind, letter in (
        ("max-tokens", int, "N"),
        ("temperature", float, "T"),
        ("top-p", float, "P"),
        ("top-k", int, "K"),
        ("min-p", float, "P"),
        ("repetition-penalty", float, "R"),
        ("seed", int, "S"),
    ):
        parser.add_argument(
            f"--{flag}", type=kind, metavar=letter, help=about(flag.replace("-", "_"))
        )
    parser.add_argument(
        "--stop",
        action="append",
        metavar="TEXT",
        help="stop at this string; may be given several times",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="of the matrix products. auto: the one measured faster. In fp32, a "
        "text does not depend on the other prompts",
    )


def sampling(model: "LoadedModel", arguments: argparse.Namespace) -> "Decoding":
    """The settings that `add_sampling` took, over those of the run's recipe."""
    return model.settings(
        max_tokens=arguments.max_tokens, temperature=arguments.temperature, top_p=arguments.top_p,
        top_k=arguments.top_k, min_p=arguments.min_p, stop=arguments.stop, seed=arguments.seed,
        repetition_penalty=arguments.repetition_penalty,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    prompts = list(arguments.prompt)
    if arguments.prompts_file is not None:
        prompts += _read_prompts(arguments.prompts_file)
    prompts = prompts or [""]
    model = _load_language_model(arguments.run, arguments.precision)
    decoding = sampling(model, arguments)
    if arguments.json:
        found = {
            "run": arguments.run,
            "precision": model.engine.precision,
            "settings": decoding.model_dump(exclude={"beam", "length_penalty"}),
            "continuations": [asdict(c) for c in model.continuations(prompts, decoding)],
        }
        print_json(found)
    elif len(prompts) == 1:
        pieces = model.pieces(prompts[0], decoding)
        first = next(pieces, "")  # a warning about the prompt comes before the text
        sys.stdout.write(shown(prompts[0] + first))
        sys.stdout.flush()
        for piece in pieces:
            sys.stdout.write(shown(piece))
            sys.stdout.flush()
        sys.stdout.write("\n")
    else:
        _print(model.continuations(prompts, decoding))
    return 0


def _load_language_model(run: str | Path, precision: str) -> "LoadedModel":
    from xunlian.decoding.model import prepare_language_model
    from xunlian.runs.load import load_run

    return prepare_language_model(load_run(run), precision)


def _print(continuations: "list[Continuation]") -> None:
    separator = "\n" + "-" * 40 + "\n"
    sys.stdout.write(shown(separator.join(c.prompt + c.text for c in continuations) + "\n"))


def _read_prompts(name: str) -> list[str]:
    from xunlian.errors import InputError
    from xunlian.files import os_errors

    try:
        with os_errors(Path(name)):
            raw = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
        # Not splitlines(): that also splits at characters that are text inside a line.
        lines = raw.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
        prompts = [line for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise InputError(f"There is no prompts file '{name}'.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"The prompts file '{name}' is not UTF-8 text ({error}). Save it as UTF-8."
        ) from error
    if not prompts:
        raise InputError(f"The prompts file '{name}' is empty; write one prompt on each line.")
    return prompts
