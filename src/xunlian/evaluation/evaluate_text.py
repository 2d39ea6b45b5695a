"""A language model on a text: from the files or the corpus that are named to the whole result."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import xunlian
from xunlian.console import progress
from xunlian.errors import InputError
from xunlian.evaluation.perplexity import document_score
from xunlian.evaluation.texts import Text, corpus_text, files_text
from xunlian.machine.rates import pick_device
from xunlian.recipe.settings import Recipe
from xunlian.runs.load import Loaded, require_decoder
from xunlian.tokenizer.tokenizer import Tokenizer


def evaluate_text(
    recipe: Recipe, loaded: Loaded, paths: list[str], stride: int | None
) -> dict[str, Any]:
    """Score the text of `paths` (files, or one corpus folder); as `xunlian.evaluate` returns it.

    Raises:
        InputError: no such text, or a stride that is not possible.
    """
    model = require_decoder(loaded)
    tokenizer, context = loaded.tokenizer, model.config.context
    stride = _check_stride(stride, context)
    model = model.to(pick_device())
    if recipe.training.attention != "auto":
        model.attention_form = recipe.training.attention
    dtype = torch.bfloat16 if precision_of(recipe) == "bf16" else torch.float32
    with tempfile.TemporaryDirectory(prefix="xunlian-") as folder:
        text = _text(paths, recipe, tokenizer, Path(folder))
        with _bar(text.tokens) as advance:
            score = document_score(
                model,
                text.documents,
                stride=stride,
                before_id=tokenizer.before_id,
                dtype=dtype,
                progress=advance,
                batch_tokens=_batch_tokens(model.head_weight.device),
            )
    signature = "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"context:{context}",
            f"stride:{stride}",
            "unit:token",
            "end:scored",
            f"precision:{precision_of(recipe)}",
            f"tokenizer:{tokenizer.fingerprint[:12]}",
        ]
    )
    return {
        "scores": score.per_unit(text.counts),
        "signatures": {"perplexity": signature},
        "data": text.name,
        "tokens": score.tokens,
        **asdict(text.counts),
    }


def precision_of(recipe: Recipe) -> str:
    """'auto' is for training: without a word from the user, a score is computed exactly."""
    return "bf16" if recipe.training.precision in ("bf16", "fp8") else "fp32"


def is_corpus(paths: list[str]) -> bool:
    """Whether one corpus folder is named, not files."""
    return len(paths) == 1 and (Path(paths[0]) / "corpus.json").is_file()


def _text(paths: list[str], recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> Text:
    if is_corpus(paths):
        return corpus_text(Path(paths[0]), tokenizer)
    return files_text(paths, recipe.corpus, tokenizer, folder)


def _check_stride(stride: int | None, context: int) -> int:
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
    with progress() as shown:
        task = shown.add_task("evaluate", total=total)
        yield lambda tokens: shown.advance(task, tokens)
