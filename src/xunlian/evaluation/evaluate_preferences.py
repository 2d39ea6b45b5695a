"""A model on held-out preferences: how often and how far the chosen answer leads."""

import tempfile
from pathlib import Path
from typing import Any

import torch

import xunlian
from xunlian.console import progress
from xunlian.corpus.chat.kinds import PREFERENCES
from xunlian.data.preferences import PreferenceRows
from xunlian.errors import InputError
from xunlian.evaluation.evaluate_chats import open_streams
from xunlian.evaluation.evaluate_text import is_corpus, precision_of
from xunlian.evaluation.preferences import (
    ALSO,
    REFERENCE,
    PreferenceValidation,
    likelier,
    needs_reference,
    read_reference,
    reference_log_probs,
)
from xunlian.machine.rates import pick_device
from xunlian.models.decoder import Decoder
from xunlian.recipe.settings import Recipe
from xunlian.runs.adapted import fingerprint
from xunlian.runs.folder import Run
from xunlian.runs.load import Loaded, load_folder, load_weights
from xunlian.shards.corpus import open_corpus


def is_preference(recipe: Recipe, paths: list[str]) -> bool:
    """Whether preferences are to be scored."""
    return recipe.task == "preference" or (
        is_corpus(paths) and open_corpus(paths[0]).task == "preference"
    )


def evaluate_preferences(
    recipe: Recipe, loaded: Loaded, run: Path, paths: list[str]
) -> dict[str, Any]:
    """Score the preferences of `paths`; as `xunlian.evaluate` returns it.

    A model that was not trained on preferences has no rewards: of it only how often the chosen
    answer is the likelier one is known.

    Args:
        paths: files, as `prepare --preference` takes them, or one corpus folder, of which the
            held-out preferences are scored.

    Raises:
        InputError: no preferences, the model has no chat template or another tokenizer, or the
            model that it is compared with is not there any more.
    """
    model = loaded.model
    if not isinstance(model, Decoder):
        raise InputError(f"'{loaded.folder}' is no model that chats.")
    model = model.to(pick_device())
    dtype = torch.bfloat16 if precision_of(recipe) == "bf16" else torch.float32
    settings = recipe.preference
    context = recipe.model.context if settings else model.config.context
    with tempfile.TemporaryDirectory(prefix="xunlian-") as folder:
        name, sides = open_streams(recipe, loaded, paths, Path(folder), PREFERENCES)
        tokens, marks = zip(*sides, strict=True)
        rows = PreferenceRows(tokens, marks, context, None)
        with progress() as bar:
            bar.add_task("evaluate", total=None)
            scores = {"likelihood_accuracy": likelier(model, rows, dtype)}
            if settings:
                if needs_reference(recipe):
                    _set_reference(rows, recipe, run, paths, dtype)
                smoothing = recipe.training.label_smoothing or 0.0
                validation = PreferenceValidation(rows, settings, smoothing)
                loss, count, *others = validation.nats(model, 0, validation.parts, dtype)
                means = zip(ALSO, others, strict=True)
                scores |= {"loss": loss / count} | {key: value / count for key, value in means}
    signature = "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"context:{context}",
            f"method:{settings.method}" if settings else "method:none",
            *([f"beta:{settings.beta}"] if settings else []),
            f"precision:{precision_of(recipe)}",
            f"tokenizer:{loaded.tokenizer.fingerprint[:12]}",
        ]
    )
    return {
        "scores": scores,
        "signatures": {"preference": signature},
        "data": name,
        "task": "preference",
        "preferences": rows.preferences,
        "cut": rows.cut,
        "left_out": rows.left_out,
    }


def _set_reference(
    rows: PreferenceRows, recipe: Recipe, run: Path, paths: list[str], dtype: torch.dtype
) -> None:
    """What training kept for its own corpus; else the model it started from says it again."""
    if is_corpus(paths) and paths == [recipe.corpus.path]:
        read_reference(run, {"val": rows})
        return
    source, known = recipe.model.init_from, Run(run, recipe).facts().get(REFERENCE)
    if not (source and known):
        raise InputError(
            f"'{run}' was not trained with preference.method=dpo: there is nothing to compare it "
            "with. Leave [preference] out."
        )
    model = load_weights(load_folder(source))
    if fingerprint(model) != known:
        raise InputError(
            f"'{source}' is not what '{run}' started from: it has other weights or tokens. Rewards "
            "compare with that model; put it back."
        )
    assert isinstance(model, Decoder)
    model = model.to(pick_device())
    rows.reference_N2 = reference_log_probs(model, rows, 0, rows.rows_per_epoch, dtype)
