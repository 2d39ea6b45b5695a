"""One training from recipe to finished run: corpus, decisions, model, loop, report.

This is the story of `xunlian train`, in order; each step is told in the module it calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xunlian.errors import InputError
from xunlian.interop.config import Config
from xunlian.interop.huggingface import Model, load_model, read_config, write_config
from xunlian.machine.features import Machine, read_machine
from xunlian.machine.memory import PeakMemory, keep_freed_memory
from xunlian.machine.rates import Rates
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.recipe.size import count_parameters
from xunlian.runs.folder import Run, create_run, lock_run, open_run, write_recipe
from xunlian.runs.load import load_folder
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.tokenizer.tokenizer import load_tokenizer
from xunlian.training import decisions
from xunlian.training.checkpoint import load_checkpoint, restore_random_state
from xunlian.training.loop import Cadence, Loop, Progress
from xunlian.training.networks import build_model
from xunlian.training.objectives import Objective, loss_of, objective_of
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.parallel import Group
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
    """
    machine = read_machine()
    _check_task(recipe, corpus)
    decided = decisions.decide(
        recipe,
        vocab_size=corpus.vocab_size,
        corpus_tokens=_learned_tokens(corpus),
        machine=machine,
        group=group,
    )
    recipe = decided.recipe
    for note in decided.notes:
        decisions.tell(note, group)
    objective = objective_of(recipe, corpus)
    for note in objective.notes:
        decisions.tell(note, group)
    corpus.verify()
    model = build_model(recipe, corpus.vocab_size)
    if recipe.model.init_from:
        _load_initial(model, recipe.model.init_from, corpus)
    torch.manual_seed(recipe.training.seed)
    stepper = build_stepper(recipe, model, group)
    clock = decisions.clock_of(recipe, _epoch_tokens(objective, corpus), started)
    micro_batches = recipe.training.batch_tokens // (  # type: ignore[operator]
        recipe.model.context * stepper.micro_rows * group.size
    )
    compiled, step_seconds, reason = decisions.decide_compile(
        stepper, objective.rows, clock, recipe.training.compile, machine, micro_batches
    )
    compiled = bool(group.from_lead(float(compiled))[0])
    notes = [*decided.notes, *objective.notes, f"{reason[0].upper()}{reason[1:]}."]
    decisions.tell(notes[-1], group)
    compile_seconds = 0.0
    if compiled:
        compiled, compile_seconds, problem = decisions.try_compile(stepper, objective.rows)
        notes.append(
            f"Compiled in {compile_seconds:.0f} s."
            if compiled
            else f"{problem}: training goes on without it."
        )
        decisions.tell(notes[-1], group, warning=not compiled)
    training = recipe.training.model_copy(update={"compile": "on" if compiled else "off"})
    recipe = recipe.model_copy(update={"training": training})
    recipe = decisions.cadence(
        recipe, clock, step_seconds * (0.7 if compiled else 1.0), _learned_tokens(corpus, "val")
    )
    recipe = load_recipe(_from_lead(recipe, group))
    memory = decisions.memory_of(recipe, corpus.vocab_size, group, compiled=compiled)
    run = Run(out, recipe)
    if group.leads:
        run = create_run(out, recipe)
        _write_model_folder(run, model.config, corpus)
        run.write_facts(
            _facts(recipe, corpus, machine, group, decided.rates, memory, compile_seconds, notes)
        )
    group.wait()
    return _train(run, objective, stepper, clock, group, decided.rates, step_seconds, Progress())


def resume(
    out: Path, overrides: Sequence[str], corpus: Corpus | None, group: Group, started: float
) -> Outcome:
    """Go on with the run in `out` from its last good checkpoint.

    Raises:
        InputError: no run, no checkpoint, an override that a running training cannot take, or a
            corpus that the run was not trained on.
    """
    run = open_run(out)
    for override in overrides:
        if override.partition("=")[0].strip() not in RESUMABLE:
            raise InputError(
                f"'{override}' cannot change when a run goes on. What can: {', '.join(RESUMABLE)}."
            )
    recipe = load_recipe(run.recipe, overrides)
    run = Run(out, recipe)
    facts = run.facts()
    corpus = corpus or open_corpus(recipe.corpus.path or "")
    if corpus.tokenizer_fingerprint != facts["tokenizer_fingerprint"]:
        raise InputError(
            f"The corpus '{corpus.path}' has another tokenizer than the run '{out}'. "
            "Prepare it with --tokenizer "
            f"{run.model_folder / 'tokenizer.json'}, or start a new run."
        )
    corpus.verify()
    weights, optimizer_state, state = load_checkpoint(run.checkpoints)
    progress = Progress(**state["progress"])
    extended = any(o.partition("=")[0].strip() == "training.budget" for o in overrides)
    if progress.finished and not extended:
        raise InputError(
            f"The run '{out}' is finished. To train it longer, add for example "
            "training.budget=2h; to start anew, leave out --resume."
        )
    progress.finished = False
    training = recipe.training
    threads = training.threads if state["processes"] == group.size else None
    torch.set_num_threads(threads or decisions.default_threads())
    objective = objective_of(recipe, corpus)
    model = build_model(recipe, corpus.vocab_size)
    model.load_state_dict(weights)
    stepper = build_stepper(recipe, model, group)
    stepper.optimizers.load_state_tensors(optimizer_state)
    torch.manual_seed(training.seed)
    if training.compile == "on":
        _, seconds, problem = decisions.try_compile(stepper, objective.rows)
        decisions.tell(problem or f"Compiled in {seconds:.0f} s.", group, warning=bool(problem))
    stepper.load_carried(optimizer_state)  # now that no trial run changes it any more
    restore_random_state(state["random"], group.device)
    clock = decisions.clock_of(recipe, _epoch_tokens(objective, corpus), started, state["seconds"])
    if group.leads:
        _cut_metrics(run, progress.step)
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
        matmul_rate=rates.of(training.precision) * group.size,
        step_seconds=step_seconds,
        progress=progress,
        peak=PeakMemory(group.device),
    )
    stepper.model.train()
    if group.leads:
        with lock_run(run.path):
            finished = False
            try:
                finished = loop.train()
            finally:  # a training that fails shall say how far it came, too
                run.write_facts(
                    {
                        **run.facts(),
                        "step_seconds": loop.step_seconds,
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
    else:
        finished = loop.train()
    group.wait()
    return Outcome(run, finished, progress)


def _check_task(recipe: Recipe, corpus: Corpus) -> None:
    pairs, has_pairs = recipe.task in PAIR_TASKS, corpus.task in PAIR_TASKS
    if pairs != has_pairs:
        raise InputError(
            f"The recipe's task is {recipe.task}, but the corpus '{corpus.path}' holds "
            f"{'pairs' if has_pairs else 'no pairs'}. "
            + (
                "Prepare one: xunlian prepare --pairs SOURCE TARGET --out CORPUS"
                if pairs
                else f"Say task={corpus.task}, or name another corpus.path."
            )
        )


def _learned_tokens(corpus: Corpus, split: str = "train") -> int:
    """Tokens that are predicted once in an epoch: all of a text, or the targets of pairs."""
    return corpus.tokens(split, "target" if corpus.task in PAIR_TASKS else None)


def _epoch_tokens(objective: Objective, corpus: Corpus) -> int:
    """What an epoch counts for in batch_tokens: of pairs, whole rows."""
    if corpus.task in PAIR_TASKS:
        return objective.rows.rows_per_epoch * objective.rows.context
    return corpus.tokens("train")


def build_stepper(recipe: Recipe, model: Model, group: Group) -> Stepper:
    """The model with its optimizers, on the device of this process."""
    training = recipe.training
    if isinstance(model, Decoder | EncoderDecoder):
        model.attention_form = training.attention
    model.to(group.device)
    if group.device.type == "cpu":
        keep_freed_memory()
    dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
    rates = {
        name: getattr(training, name)
        for name in (
            "learning_rate",
            "embedding_learning_rate",
            "head_learning_rate",
            "norm_learning_rate",
            "weight_decay",
            "momentum",
            "betas",
            "average_decay",
        )
    }
    optimizers = Optimizers(
        model, OptimizerSettings(kind=training.optimizer, iteration_dtype=dtype, **rates)
    )
    return Stepper(
        loss_of(recipe, model, dtype),
        optimizers,
        group,
        grad_clip=training.grad_clip,
        micro_rows=decisions.micro_rows(recipe, group),
    )


def _load_initial(model: Model, source: str, corpus: Corpus) -> None:
    """Weights of an earlier run or model folder, which must have the shape and the tokenizer."""
    folder = load_folder(Path(source))
    if load_tokenizer(folder).fingerprint != corpus.tokenizer_fingerprint:
        raise InputError(
            f"'{source}' has another tokenizer than the corpus '{corpus.path}'. "
            f"Prepare the corpus with --tokenizer {folder / 'tokenizer.json'}."
        )
    theirs, ours = read_config(folder), model.config
    # Only a gpt2 has weights for its positions; others may change their context.
    free = () if getattr(ours, "architecture", None) == "gpt2" else ("context",)
    for name in vars(ours):
        if name not in free and getattr(theirs, name, None) != getattr(ours, name):
            raise InputError(
                f"'{source}' has {name} = {getattr(theirs, name, None)}, the recipe "
                f"{getattr(ours, name)}. Give the recipe the same [model] table."
            )
    model.load_state_dict(load_model(folder).state_dict())


def _write_model_folder(run: Run, config: Config, corpus: Corpus) -> None:
    """Configuration and tokenizer, once; the weights come with the first validation."""
    run.model_folder.mkdir(parents=True, exist_ok=True)
    write_config(run.model_folder, config, corpus.end_id, corpus.pad_id)
    load_tokenizer(corpus.path).save(run.model_folder)


def _facts(
    recipe: Recipe,
    corpus: Corpus,
    machine: Machine,
    group: Group,
    rates: Rates,
    memory: dict[str, int],
    compile_seconds: float,
    notes: list[str],
) -> dict[str, Any]:
    return {
        "parameters": count_parameters(recipe.model, shape_of(recipe.model), corpus.vocab_size),
        "vocab_size": corpus.vocab_size,
        "tokenizer_fingerprint": corpus.tokenizer_fingerprint,
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "accelerators": list(machine.accelerators),
            "device": str(group.device),
        },
        "processes": group.size,
        "rates": {"fp32": rates.fp32, "bf16": rates.bf16},
        "memory_predicted": memory,
        "compile_seconds": compile_seconds,
        "notes": notes,
    }


def _from_lead(recipe: Recipe, group: Group) -> Recipe:
    return Recipe.model_validate_json(group.text_from_lead(recipe.model_dump_json()))


def _cut_metrics(run: Run, step: int) -> None:
    """Drop the lines after `step`: they will be written again."""
    import orjson

    from xunlian.files import atomic_write

    with atomic_write(run.metrics_file) as file:
        for row in run.metrics():
            if row["step"] <= step:
                file.write(orjson.dumps(row) + b"\n")
