"""`xunlian evaluate`: how well a trained model predicts a text."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xunlian.evaluation.texts import Text
    from xunlian.recipe.settings import Recipe
    from xunlian.tokenizer.tokenizer import Tokenizer

METRICS = ("perplexity",)


def evaluate(
    run: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    overrides: Sequence[str] = (),
    *,
    metrics: str | Sequence[str] = METRICS,
    stride: int | None = None,
) -> dict[str, Any]:
    """Score a trained model on the validation text of its corpus, or on any text.

    Each document is scored by itself with a window that slides by `stride` tokens.

    Args:
        run: a run or a Hugging Face model folder (which needs `data`).
        data: text files, read and cleaned as `prepare` does, or one corpus folder, whose
            validation split is taken. Default: the run's own corpus.
        overrides: 'key=value' on the run's recipe, such as 'corpus.text_field=body' or
            'training.precision=fp32'.
        metrics: names, of METRICS.
        stride: tokens between windows, 1 to the context. Default: half the context.

    Returns:
        `scores` (loss, perplexity, word_perplexity, character_perplexity, bits_per_byte; full
        precision), `signatures`, and what was scored: data, documents, tokens, bytes, characters,
        words.

    Raises:
        InputError: no such run, metric or text, or a stride that is not possible.
    """
    _check_metrics(metrics)
    import tempfile

    import torch

    import xunlian
    from xunlian.evaluation.perplexity import document_score
    from xunlian.machine.features import available_cores
    from xunlian.machine.rates import pick_device
    from xunlian.runs.load import load_run

    recipe = _recipe(Path(run), overrides)
    loaded = load_run(run)
    tokenizer, context = loaded.tokenizer, loaded.model.config.context
    stride = _check_stride(stride, context)
    torch.set_num_threads(recipe.training.threads or available_cores())
    model = loaded.model.to(pick_device())
    if recipe.training.attention != "auto":
        model.attention_form = recipe.training.attention
    # 'auto' is for training: without a word from the user, a score is computed exactly.
    dtype = torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32
    with tempfile.TemporaryDirectory(prefix="xunlian-") as folder:
        text = _text(run, recipe, data, tokenizer, Path(folder))
        with _bar(text.tokens) as progress:
            score = document_score(
                model,
                text.documents,
                stride=stride,
                end_id=tokenizer.end_id,
                dtype=dtype,
                progress=progress,
                batch_tokens=_batch_tokens(model.head_weight.device),
            )
    signature = "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"context:{context}",
            f"stride:{stride}",
            "unit:token",
            "end:scored",
            f"precision:{'bf16' if dtype == torch.bfloat16 else 'fp32'}",
            f"tokenizer:{tokenizer.fingerprint[:12]}",
        ]
    )
    return {
        "scores": score.per_unit(text.counts),
        "signatures": {"perplexity": signature},
        "run": str(run),
        "data": text.name,
        "tokens": score.tokens,
        **asdict(text.counts),
    }


def _check_metrics(metrics: str | Sequence[str]) -> None:
    from xunlian.errors import InputError, did_you_mean

    names = metrics.split(",") if isinstance(metrics, str) else metrics
    for name in (name.strip() for name in names):
        if name not in METRICS:
            raise InputError(
                f"There is no metric '{name}'.{did_you_mean(name, METRICS)} There "
                f"is: {', '.join(METRICS)}."
            )


def _recipe(run: Path, overrides: Sequence[str]) -> "Recipe":
    from xunlian.recipe.load import load_recipe
    from xunlian.recipe.settings import Recipe
    from xunlian.runs.folder import open_run

    is_run = (run / "recipe.toml").is_file()
    return load_recipe(open_run(run).recipe if is_run else Recipe(), overrides)


def _text(
    run: str | Path,
    recipe: "Recipe",
    data: str | Path | Sequence[str | Path] | None,
    tokenizer: "Tokenizer",
    folder: Path,
) -> "Text":
    from xunlian.errors import InputError
    from xunlian.evaluation.texts import corpus_text, files_text

    paths = [data] if isinstance(data, (str, Path)) else list(data or ())
    if not paths:
        if recipe.corpus.path is None:
            raise InputError(
                f"'{run}' names no corpus of its own. Say with --data which text to score."
            )
        if not (Path(recipe.corpus.path) / "corpus.json").is_file():
            raise InputError(
                f"The corpus of '{run}', '{recipe.corpus.path}', is not there. Say "
                "with --data which text to score."
            )
        return corpus_text(Path(recipe.corpus.path), tokenizer)
    if len(paths) == 1 and (Path(paths[0]) / "corpus.json").is_file():
        return corpus_text(Path(paths[0]), tokenizer)
    return files_text([str(path) for path in paths], recipe.corpus, tokenizer, folder)


def _check_stride(stride: int | None, context: int) -> int:
    from xunlian.errors import InputError

    if stride is not None and not 1 <= stride <= context:
        raise InputError(
            f"stride = {stride} is not possible; use 1 to {context}, the model's context."
        )
    return stride or max(1, context // 2)


def _batch_tokens(device: Any) -> int:
    return 4096 if device.type == "cpu" else 65_536


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Yields the function to call with the number of tokens scored."""
    from xunlian.console import progress

    with progress() as shown:
        task = shown.add_task("evaluate", total=total)
        yield lambda tokens: shown.advance(task, tokens)


def table(result: dict[str, Any]) -> str:
    """The scores as lines of text; the one to look at first comes first, marked with *."""
    scores = result["scores"]
    names = {
        "word_perplexity": "perplexity per word",
        "character_perplexity": "perplexity per character",
        "bits_per_byte": "bits per byte",
        "perplexity": "perplexity per token",
        "loss": "loss, nats per token",
    }
    main = "word_perplexity" if _has_words(result) else "character_perplexity"
    rows = sorted((name for name in names if name in scores), key=lambda name: name != main)
    lines = [
        f"{result['data']}: {result['documents']:,} documents, {result['tokens']:,} tokens, "
        f"{result['characters']:,} characters, {result['bytes']:,} bytes",
        "",
    ]
    lines += [
        f"{'*' if name == main else ' '} {names[name]:<26}{_figure(scores[name]):>12}"
        for name in rows
    ]
    lines += [
        "",
        "Per word, character and byte, any two models can be compared on the same text;",
        "per token, only models with the same tokenizer.",
        "",
        *(f"{name}: {text}" for name, text in result["signatures"].items()),
    ]
    return "\n".join(lines)


def _has_words(result: dict[str, Any]) -> bool:
    """Whether the text puts spaces between its words, as English does and Chinese does not."""
    return bool(result["words"]) and 2.5 <= result["characters"] / result["words"] <= 15


def _figure(value: float) -> str:
    return f"{value:,.3f}" if value < 1e6 else f"{value:.3g}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run, or a Hugging Face model folder")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="settings that replace those of the run's recipe, such as "
        "corpus.text_field=body or training.precision=fp32",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="texts to score, or a corpus folder; default: the validation "
        "text of the run's own corpus",
    )
    parser.add_argument(
        "--metrics",
        default="perplexity",
        metavar="NAMES",
        help="perplexity (the only one for a language model)",
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="tokens between windows: smaller is slower and exacter; default: half the context",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    # `--data FILE key=value`: the option takes all that follows, files or not.
    given = arguments.data or []
    settings = [text for text in given if "=" in text and not Path(text).exists()]
    result = evaluate(
        arguments.model,
        [text for text in given if text not in settings],
        [*arguments.overrides, *settings],
        metrics=arguments.metrics,
        stride=arguments.stride,
    )
    if arguments.json:
        import orjson

        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(table(result) + "\n")
    return 0
