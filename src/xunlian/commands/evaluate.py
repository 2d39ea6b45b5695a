"""`xunlian evaluate`: how well a trained model predicts a text, translates, or does a task."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.common import add_json, print_json
from xunlian.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from xunlian.recipe.settings import Recipe

METRICS = ("perplexity", "bleu", "chrf", "ter", "rouge")
TASKS = ("code", "math", "qa", "intent", "choice")


def evaluate(
    run: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    overrides: Sequence[str] = (),
    *,
    metrics: str | Sequence[str] | None = None,
    stride: int | None = None,
    bootstrap: int | None = None,
    output: str | Path | None = None,
    task: str | None = None,
    samples: int | None = None,
    pass_at: Sequence[int] | None = None,
    timeout: float | None = None,
    examples: str | Path | None = None,
    shots: int | None = None,
) -> dict[str, Any]:
    """Score a trained model on the validation split of its corpus, or on any text or pairs.

    A language model is scored by how well it predicts each document by itself, with a window that
    slides by `stride` tokens. An encoder-decoder translates (or summarizes) the sources with the
    settings of its recipe; its texts are compared with the references, and it predicts these. Of
    conversations (a run whose task is chat, a corpus of them, or the override 'task=chat') it is
    scored how well their answers are predicted, each from what came before.

    With `task`, a language model answers the problems of `data`, and what is right is counted.

    Args:
        run: a run or a Hugging Face model folder (which needs `data`).
        data: files, read and cleaned as `prepare` does, or one corpus folder, whose validation
            split is taken. For an encoder-decoder pairs, as `prepare --pairs` takes them; a
            target that is a list of texts in a .jsonl or .parquet is several references.
            Default: the run's own corpus.
        overrides: 'key=value' on the run's recipe, such as 'corpus.text_field=body',
            'training.precision=fp32' or 'decoding.beam=1'.
        metrics: names, of METRICS. Default: perplexity; of a translation also bleu and chrf, of a
            summary also rouge.
        stride: of a language model, tokens between windows, 1 to the context. Default: half of it.
        bootstrap: of an encoder-decoder, samples for 95% intervals, 0 for none. Default: 1000 with
            at least 100 pairs.
        output: of an encoder-decoder, a file for its texts, a line for each pair; of a task, a
            .jsonl for its answers and what became of them.
        task: one of TASKS. 'code' runs the programs that the model writes, walled off.
        samples: of code, programs for each problem. Default: 1, the most probable one.
        pass_at: of code, the k of pass@k. Default: 1 and `samples`.
        timeout: of code, seconds that a program may take. Default: 10.
        examples: of a task, a file of problems with answers: to show `shots` of them, and from
            which an intent is known by its answers.
        shots: of a task, how many examples are shown before each question. Default: none.

    Returns:
        `scores` (full precision; of a language model loss, perplexity, word_perplexity,
        character_perplexity, bits_per_byte; of an encoder-decoder the names of `xunlian.score`,
        and loss, perplexity, bits_per_byte of the references), `signatures`, and what was scored:
        data, and documents, tokens, bytes, characters, words, or `segments`, `language`,
        `left_out`, with `intervals` and `baselines`. Of a task scores from 0 to 1 (pass@k,
        accuracy, exact_match, f1), `items`, `too_long`, `intervals` and `baselines`.

    Raises:
        InputError: no such run, metric, task or data, or a setting that is not possible.
    """
    names = _metric_names(metrics)
    given = {"samples": samples, "pass_at": pass_at, "timeout": timeout,
             "examples": examples, "shots": shots}  # fmt: skip
    if task is not None:
        if names or stride is not None or bootstrap is not None:
            raise InputError("--metrics, --stride and --bootstrap are not for a --task.")
        return _evaluate_task(task, run, data, overrides, given, output)
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} is for a --task: {', '.join(TASKS)}.")
    import torch

    from xunlian.evaluation.evaluate_chats import evaluate_chats, is_chat
    from xunlian.evaluation.evaluate_pairs import evaluate_pairs
    from xunlian.evaluation.evaluate_text import evaluate_text
    from xunlian.machine.features import available_cores
    from xunlian.models.encoder_decoder import EncoderDecoder
    from xunlian.models.recurrent_pairs import RecurrentPairModel
    from xunlian.runs.load import load_run

    recipe = _recipe(Path(run), overrides)
    loaded = load_run(run)
    torch.set_num_threads(recipe.training.threads or available_cores())
    paths = _paths(run, recipe, data)
    if isinstance(loaded.model, EncoderDecoder | RecurrentPairModel):
        if stride is not None:
            raise InputError(f"A stride is for language models, and '{run}' is none.")
        return evaluate_pairs(
            recipe, loaded, paths, metrics=names, bootstrap=bootstrap, output=output
        ) | {"run": str(run)}
    for name in names:
        if name != "perplexity":
            raise InputError(
                f"'{run}' is a language model: it has no references that {name} could compare "
                "with. Use --metrics perplexity."
            )
    if bootstrap is not None or output is not None:
        raise InputError(
            f"'{run}' is a language model: it gives no texts to write or to resample. Leave out "
            "--output and --bootstrap."
        )
    if is_chat(recipe, paths):
        if stride is not None:
            raise InputError("A stride is for texts, and these are conversations. Leave it out.")
        return evaluate_chats(recipe, loaded, paths) | {"run": str(run)}
    return evaluate_text(recipe, loaded, paths, stride) | {"run": str(run)}


def _evaluate_task(
    task: str,
    run: str | Path,
    data: str | Path | Sequence[str | Path] | None,
    overrides: Sequence[str],
    given: dict[str, Any],
    output: str | Path | None,
) -> dict[str, Any]:
    if task not in TASKS:
        raise InputError(
            f"There is no task '{task}'.{did_you_mean(task, TASKS)} There are: {', '.join(TASKS)}."
        )
    if not data:
        raise InputError(f"Which problems? xunlian evaluate RUN FILE --task {task}")
    import torch

    from xunlian.evaluation.tasks.evaluate import Options, evaluate_task
    from xunlian.machine.features import available_cores

    recipe = _recipe(Path(run), overrides)
    torch.set_num_threads(recipe.training.threads or available_cores())
    warm = any(text.startswith("decoding.temperature=") for text in overrides)
    options = Options(**given, temperature=warm)
    paths = _paths(run, recipe, data)
    return evaluate_task(task, run, recipe, paths, options, output) | {"run": str(run)}


def _metric_names(metrics: str | Sequence[str] | None) -> list[str]:
    names = metrics.split(",") if isinstance(metrics, str) else metrics or ()
    names = list(dict.fromkeys(name.strip() for name in names))
    for name in names:
        if name not in METRICS:
            raise InputError(
                f"There is no metric '{name}'.{did_you_mean(name, METRICS)} There "
                f"are: {', '.join(METRICS)}."
            )
    return names


def _recipe(run: Path, overrides: Sequence[str]) -> "Recipe":
    from xunlian.recipe.load import load_recipe
    from xunlian.recipe.settings import Recipe
    from xunlian.runs.folder import open_run

    is_run = (run / "recipe.toml").is_file()
    return load_recipe(open_run(run).recipe if is_run else Recipe(), overrides)


def _paths(
    run: str | Path, recipe: "Recipe", data: str | Path | Sequence[str | Path] | None
) -> list[str]:
    """The files to score, or the folder of one corpus."""
    given = [data] if isinstance(data, (str, Path)) else list(data or ())
    if given:
        return [str(path) for path in given]
    if recipe.corpus.path is None:
        raise InputError(f"'{run}' names no corpus of its own. Say with --data what to score.")
    if not (Path(recipe.corpus.path) / "corpus.json").is_file():
        raise InputError(
            f"The corpus of '{run}', '{recipe.corpus.path}', is not there. Say with --data what to "
            "score."
        )
    return [recipe.corpus.path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run, or a Hugging Face model folder")
    parser.add_argument(
        "rest",
        metavar="FILE|key=value",
        nargs="*",
        help="files, as --data takes them, and settings that replace those of the run's recipe, "
        "such as corpus.text_field=body or training.precision=fp32",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="texts to score, or a corpus folder; for translations pairs, as `prepare --pairs` "
        "takes them; default: the validation split of the run's own corpus",
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="perplexity (the only one for a language model), and for translations and summaries "
        "bleu, chrf, ter, rouge, with commas between",
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="of a language model, tokens between windows: smaller is slower and exacter; "
        "default: half the context",
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        metavar="N",
        help="samples for the 95%% intervals of translations, 0 for none; default: 1000 with at "
        "least 100 pairs",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the translations, summaries or answers to a task there, line by line",
    )
    _add_task(parser)
    add_json(parser)


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        metavar="NAME",
        help="problems that the model answers: code (programs, run with their tests), math (the "
        "number at the end), qa (a span of a text), intent (what a support bot's answer is about), "
        "choice (the likeliest of several)",
    )
    parser.add_argument(
        "--examples",
        metavar="FILE",
        help="of a task, problems with answers: to show some, or to know intents by",
    )
    parser.add_argument(
        "--shots", type=int, metavar="N", help="show so many of the examples before each question"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="of code, programs for each problem; default: 1"
    )
    parser.add_argument(
        "--pass-at",
        nargs="+",
        metavar="K",
        help="of code, the k of pass@k; default: 1 and --samples",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="of code, how long a program may take; default: 10",
    )


def run(arguments: argparse.Namespace) -> int:
    # `--data` and `--pass-at` take all that follows, settings too.
    ks, after = _pass_at(arguments.pass_at)
    given = [*(arguments.data or []), *arguments.rest, *after]
    settings = [text for text in given if "=" in text and not Path(text).exists()]
    result = evaluate(
        arguments.model,
        [text for text in given if text not in settings],
        settings,
        metrics=arguments.metrics,
        stride=arguments.stride,
        bootstrap=arguments.bootstrap,
        output=arguments.output,
        task=arguments.task,
        samples=arguments.samples,
        pass_at=ks,
        timeout=arguments.timeout,
        examples=arguments.examples,
        shots=arguments.shots,
    )
    if arguments.json:
        print_json(result)
    else:
        from xunlian.report.scores import table

        sys.stdout.write(table(result) + "\n")
    return 0


def _pass_at(given: list[str] | None) -> tuple[list[int] | None, list[str]]:
    """The k of `--pass-at`, and what else follows it."""
    if given is None:
        return None, []
    numbers = [text for text in given if text.lstrip("-").isdecimal()]
    if not numbers:
        raise InputError(f"--pass-at takes numbers, such as --pass-at 1 10, not '{given[0]}'.")
    return [int(text) for text in numbers], [text for text in given if text not in numbers]
