"""One training from recipe to finished run: corpus, decisions, model, loop, report.

This is the story of `xunlian train`, in order; each step is told in the module it calls.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xunlian.errors import InputError
from xunlian.evaluation.preferences import REFERENCE, needs_reference, read_reference
from xunlian.interop.adapters import write_adapter_config
from xunlian.interop.config import Config
from xunlian.interop.huggingface import build, read_config, write_config
from xunlian.machine.memory import PeakMemory, gpu_memory_errors
from xunlian.machine.rates import Rates
from xunlian.models.adapter import load_trained
from xunlian.models.decoder import Decoder
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import Recipe
from xunlian.recipe.size import count_parameters
from xunlian.runs.adapted import load_base, write_base
from xunlian.runs.folder import Run, create_run, lock_run, open_run, write_recipe
from xunlian.runs.load import load_folder
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.tokenizer.sides import load_sides
from xunlian.training import decisions
from xunlian.training.checkpoint import load_checkpoint, restore_random_state
from xunlian.training.growth import hold_back
from xunlian.training.loop import Cadence, Loop, Progress
from xunlian.training.objectives import Objective, epoch_tokens, objective_of
from xunlian.training.pace import pace_of
from xunlian.training.parallel import Group
from xunlian.training.reference import compared_rows, compute_reference, write_reference
from xunlian.training.setup import Setup, add_adapter, build_stepper, set_up
from xunlian.training.step import Stepper

# What may change when a run goes on; everything else is frozen in it.
RESUMABLE = (
    "training.budget",
    "training.validate_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.log_every",
    "training.early_stopping",
)


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    run: Run
    finished: bool
    progress: Progress


def start(recipe: Recipe, corpus: Corpus, out: Path, group: Group, started: float) -> Outcome:
    """Train a new run in the folder `out`.

    Raises:
        InputError: the recipe, the corpus and the machine do not go together; nothing is left.
        XunlianError: as `Loop.train`, or the memory of a GPU is full.
    """
    with gpu_memory_errors():
        ready = set_up(recipe, corpus, group, started)
        if needs_reference(ready.recipe):
            assert isinstance(ready.stepper.model, Decoder)
            compute_reference(ready.objective, ready.stepper.model, ready.stepper.dtype, group)
    run = Run(out, ready.recipe)
    if group.leads:
        run = create_run(out, ready.recipe)
        if needs_reference(ready.recipe):
            write_reference(run, ready.objective)
        _write_model_folder(run, ready.stepper.model.config, corpus, ready.base)
        run.write_facts(_facts(ready, corpus, group))
    group.wait()
    with _held(out, group), gpu_memory_errors():
        return _train(
            run,
            ready.objective,
            ready.stepper,
            ready.clock,
            group,
            ready.rates,
            ready.step_seconds,
            Progress(),
        )


def resume(
    out: Path, overrides: Sequence[str], corpus: Corpus | None, group: Group, started: float
) -> Outcome:
    """Go on with the run in `out` from its last good checkpoint.

    Raises:
        InputError: no run, no checkpoint, another process trains it, an override that a running
            training cannot take, or a corpus that the run was not trained on.
        XunlianError: as `start`.
    """
    run = open_run(out)
    for override in overrides:
        if override.partition("=")[0].strip() not in RESUMABLE:
            raise InputError(
                f"'{override}' cannot change when a run goes on. What can: {', '.join(RESUMABLE)}."
            )
    with _held(out, group), gpu_memory_errors():
        extended = any(o.partition("=")[0].strip() == "training.budget" for o in overrides)
        run = Run(out, load_recipe(run.recipe, overrides))
        return _go_on(run, extended, corpus, group, started)


def _go_on(
    run: Run, extended: bool, corpus: Corpus | None, group: Group, started: float
) -> Outcome:
    """`extended`: the budget is another one than the run began with."""
    recipe, out, facts = run.recipe, run.path, run.facts()
    if "tokenizer_fingerprint" not in facts:
        raise InputError(
            f"The run '{out}' was stopped before its first step (it has no run.json). Remove it "
            "and start anew without --resume."
        )
    corpus = corpus or open_corpus(recipe.corpus.path or "")
    if corpus.tokenizer_fingerprint != facts["tokenizer_fingerprint"]:
        raise InputError(
            f"The corpus '{corpus.path}' has another tokenizer than the run '{out}'. "
            "Prepare it with --tokenizer "
            f"{run.model_folder}, or start a new run."
        )
    if facts.get("corpus", corpus.fingerprint) != corpus.fingerprint:
        raise InputError(
            f"The corpus '{corpus.path}' is another one than the run '{out}' began with. To learn "
            f"from other text, start a new run with model.init_from={out}."
        )
    corpus.verify()
    weights, optimizer_state, state = load_checkpoint(run.checkpoints)
    progress = Progress(**state["progress"])
    if progress.finished and not extended:
        raise InputError(
            f"The run '{out}' is finished. To train it longer, add for example "
            "training.budget=2h; to start anew, leave out --resume."
        )
    progress.finished = False
    decisions.check_shares(recipe, group)
    training = recipe.training
    threads = training.threads if state["processes"] == group.size else None
    torch.set_num_threads(threads or decisions.default_threads())
    objective = objective_of(recipe, corpus)
    if needs_reference(recipe):
        read_reference(out, compared_rows(objective))
    dropout = recipe.model.dropout or 0.0
    if recipe.adapter:
        decisions.check_frozen(recipe, group.device)
        model = load_base(run.model_folder, dropout=dropout)
        add_adapter(model, recipe)
    else:
        model = build(read_config(run.model_folder), dropout)
    load_trained(model, weights)
    stepper = build_stepper(recipe, model, group)
    if stepper.teacher and stepper.teacher.fingerprint != facts.get("teacher"):
        assert recipe.distill
        raise InputError(
            f"The teacher '{recipe.distill.teacher}' has other weights than when the run '{out}' "
            "began. Put the old ones back, or start a new run."
        )
    stepper.optimizers.load_state_tensors(optimizer_state)
    torch.manual_seed(training.seed)
    if training.compile == "on":
        _, seconds, problem = decisions.try_compile(stepper, objective.rows)
        decisions.tell(problem or f"Compiled in {seconds:.0f} s.", group, warning=bool(problem))
    stepper.load_carried(optimizer_state)  # now that no trial run changes it any more
    restore_random_state(state["random"], group.device)
    clock = decisions.clock_of(recipe, epoch_tokens(objective, corpus), started, state["seconds"])
    clock.setup_seconds = state.get("setup_seconds", 0.0)  # runs of older versions lack it
    if group.leads:
        run.cut_metrics(progress.step)
        write_recipe(run)
    decisions.tell(f"Going on from step {progress.step}.", group)
    return _train(
        run,
        objective,
        stepper,
        clock,
        group,
        Rates(**facts["rates"]),
        facts.get("step_seconds", 1.0),
        progress,
    )


def _train(
    run: Run,
    objective: Objective,
    stepper: Stepper,
    clock: Any,
    group: Group,
    rates: Rates,
    step_seconds: float,
    progress: Progress,
) -> Outcome:
    training = run.recipe.training
    assert training.validate_every and training.checkpoint_every and training.log_every
    loop = Loop(
        run=run,
        settings=training,
        group=group,
        stepper=stepper,
        objective=objective,
        clock=clock,
        cadence=Cadence(training.validate_every, training.checkpoint_every, training.log_every),
        pace=pace_of(run.recipe, objective, stepper, rates, step_seconds),
        progress=progress,
        peak=PeakMemory(group.device),
    )
    stepper.model.train()
    if loop.growing:
        assert training.grow_from and isinstance(stepper.model, Decoder)
        hold_back(stepper.model, training.grow_from)
    finished = False
    try:
        finished = loop.train()
    finally:  # a training that fails shall say how far it came, too
        if group.leads:
            run.write_facts(
                {
                    **run.facts(),
                    "step_seconds": loop.pace.step_seconds,
                    "seconds": clock.seconds(),
                    "step": progress.step,
                    "tokens": progress.tokens,
                    "skipped": progress.skipped,
                    "best_val_loss": progress.best_val_loss,
                    "best_step": progress.best_step,
                    "finished": finished,
                    "memory_measured": loop.peak.peak,
                }
            )
    group.wait()
    return Outcome(run, finished, progress)


def _held(out: Path, group: Group) -> contextlib.AbstractContextManager[None]:
    """The run, for this group alone."""
    return lock_run(out) if group.leads else contextlib.nullcontext()


def _write_model_folder(run: Run, config: Config, corpus: Corpus, base: str | None) -> None:
    """Configuration and tokenizer, once; the weights come with the first validation.

    `base` is the checksum of the weights that an adapter was made for.
    """
    run.model_folder.mkdir(parents=True, exist_ok=True)
    tokenizers = load_sides(corpus.path)
    forced = tokenizers.frame("target").before
    write_config(
        run.model_folder,
        config,
        corpus.end_id,
        corpus.start_id,
        before_id=tokenizers.source.before_id,
        turn_end_id=corpus.turn_end_id,
        pad_id=corpus.pad_id,
        forced_id=forced[0] if forced else None,
    )
    tokenizers.save(run.model_folder)
    if run.recipe.adapter:
        assert run.recipe.model.init_from and base
        folder = load_folder(run.recipe.model.init_from)
        write_adapter_config(run.model_folder, config, run.recipe.adapter, folder)
        write_base(run.model_folder, base)


def _facts(ready: Setup, corpus: Corpus, group: Group) -> dict[str, Any]:
    model, vocab_size = ready.recipe.model, ready.stepper.model.config.vocab_size
    teacher = ready.stepper.teacher
    return {
        "parameters": count_parameters(model, shape_of(model), vocab_size),
        "vocab_size": vocab_size,
        "tokenizer_fingerprint": corpus.tokenizer_fingerprint,
        "corpus": corpus.fingerprint,
        "machine": {
            "processor": ready.machine.processor,
            "cores": ready.machine.cores,
            "accelerators": list(ready.machine.accelerators),
            "device": str(group.device),
        },
        "processes": group.size,
        "rates": {"fp32": ready.rates.fp32, "bf16": ready.rates.bf16},
        "memory_predicted": ready.memory,
        "compile_seconds": ready.compile_seconds,
        "notes": list(ready.notes),
        **({REFERENCE: ready.base} if needs_reference(ready.recipe) else {}),
        **({"teacher": teacher.fingerprint} if teacher else {}),
    }
