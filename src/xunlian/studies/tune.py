"""The fastest settings of a network on this machine, found by short trials.

One setting after the other is tried on the best so far, and kept when it is faster by more than
the noise. At the end defaults and winner take turns, and only what is confirmed is kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from xunlian.console import say
from xunlian.machine.features import read_machine
from xunlian.machine.profile import keep_tuned, profile_key, profile_path
from xunlian.recipe.settings import Recipe
from xunlian.runs.initial import Initial, start_from
from xunlian.shards.corpus import Corpus
from xunlian.studies.trial import time_steps
from xunlian.training import decisions
from xunlian.training.fitting import fit_micro_batches, fits, micro_rows, with_micro_rows
from xunlian.training.networks import first_model
from xunlian.training.objectives import learned_tokens, objective_of
from xunlian.training.parallel import Group
from xunlian.training.setup import build_stepper, check_task

WORTHWHILE = 1.03  # less is noise
TURNS = 3
MOST_SIZES = 4

Settings = dict[str, Any]
Trial = Callable[[Settings], float]
"""Settings of the [training] table -> seconds of an optimizer step."""


@dataclass(frozen=True)
class Tuned:
    """Settings that differ from the defaults, and how many times faster a step is with them."""

    settings: Settings
    gain: float
    seconds: float
    default_seconds: float


def tune_here(recipe: Recipe, corpus: Corpus, group: Group) -> dict[str, Any]:
    """Find the fastest of the settings that the recipe leaves open, and keep them for `train`.

    Raises:
        InputError: the recipe, the corpus and the machine do not go together.
    """
    machine = read_machine()
    check_task(recipe, corpus)
    recipe, initial = start_from(recipe, corpus)
    vocab_size = initial.config.vocab_size if initial else corpus.vocab_size
    decided = decisions.decide(
        recipe,
        vocab_size=vocab_size,
        corpus_tokens=learned_tokens(corpus),
        machine=machine,
        group=group,
    )
    asked, recipe = recipe.training, decided.recipe
    compiled = decisions.can_compile(recipe, machine, group)
    rows = objective_of(recipe, corpus).rows
    recipe, smaller = fit_micro_batches(recipe, asked, vocab_size, rows, group, compiled=compiled)
    if smaller:
        say(smaller)

    def fitting(micro_rows: int) -> bool:
        tried = with_micro_rows(recipe, micro_rows)
        return fits(tried, vocab_size, rows, group, compiled=compiled)

    start = {
        "attention": recipe.training.attention,
        "micro_batch_tokens": micro_rows(recipe, group) * recipe.model.context,
        "precision": recipe.training.precision,
        "threads": recipe.training.threads,
        "compile": "on" if compiled else "off",
    }
    choices = _choices(recipe, start, group, fitting)
    open_ = {name: choices[name] for name in choices if getattr(asked, name) in (None, "auto")}
    tuned = search(
        start, open_, lambda settings: _measure(recipe, initial, corpus, group, settings)
    )
    key = profile_key(machine, recipe, vocab_size, str(group.device))
    keep_tuned(key, {**tuned.settings, "gain": round(tuned.gain, 3)})
    return {
        "settings": tuned.settings,
        "gain": tuned.gain,
        "step_seconds": tuned.seconds,
        "default_step_seconds": tuned.default_seconds,
        "defaults": start,
        "profile": str(profile_path()),
    }


def search(start: Settings, choices: dict[str, list[Any]], trial: Trial) -> Tuned:
    """The best of `choices`, one setting after the other, from `start`; see the module's text."""
    best = dict(start)
    best_seconds = trial(best)
    say(f"defaults: {1000 * best_seconds:,.0f} ms a step ({_words(start)})")
    for name, values in choices.items():
        for value in values:
            tried = {**best, name: value}
            if value == best[name] or tried == start:
                continue
            seconds = trial(tried)
            better = best_seconds / seconds >= WORTHWHILE
            say(
                f"{_words({name: value})}: {1000 * seconds:,.0f} ms, "
                f"{best_seconds / seconds:.2f}x{' <-' if better else ''}"
            )
            if better:
                best, best_seconds = tried, seconds
    if best == start:
        return Tuned({}, 1.0, best_seconds, best_seconds)
    say("defaults and the best take turns")
    turns = [(trial(start), trial(best)) for _ in range(TURNS)]
    default_seconds, seconds = (median(side) for side in zip(*turns, strict=True))
    if default_seconds / seconds < WORTHWHILE:
        return Tuned({}, 1.0, default_seconds, default_seconds)
    changed = {name: value for name, value in best.items() if value != start[name]}
    return Tuned(changed, default_seconds / seconds, seconds, default_seconds)


def _choices(
    recipe: Recipe, start: Settings, group: Group, fitting: Callable[[int], bool]
) -> dict[str, list[Any]]:
    """What is tried of each setting, in the order in which they are tried.

    `fitting` tells whether so many rows of a forward pass fit in memory.
    """
    context, batch, micro = recipe.model.context, recipe.training.batch_tokens, "micro_batch_tokens"
    assert batch
    rows = batch // context // group.size
    sizes = [n * context for n in range(1, rows + 1) if rows % n == 0 and fitting(n)]
    sizes.sort(key=lambda size: abs(math.log(size / start[micro])))
    choices: dict[str, list[Any]] = {}
    if recipe.model.family == "transformer":
        choices["attention"] = ["matmul", "sdpa"]
    choices[micro] = sizes[1 : MOST_SIZES + 1]  # the first is the default
    if group.device.type == "cpu":
        choices["threads"] = sorted({max(1, start["threads"] // 2), max(1, start["threads"] - 1)})
    choices["precision"] = ["bf16", "fp32"]
    if start["compile"] == "on":
        choices["compile"] = ["off"]
    return choices


def _measure(
    recipe: Recipe, initial: Initial | None, corpus: Corpus, group: Group, settings: Settings
) -> float:
    """Seconds of a step with `settings`."""
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    training = recipe.training.model_copy(update=settings)
    recipe = recipe.model_copy(update={"training": training})
    objective = objective_of(recipe, corpus)
    torch.manual_seed(training.seed)
    stepper = build_stepper(recipe, first_model(recipe, initial, corpus.vocab_size), group)
    if training.compile == "on":
        decisions.try_compile(stepper, objective.rows)
    assert training.batch_tokens
    return time_steps(stepper, objective.rows, training.batch_tokens, group)


def _words(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
