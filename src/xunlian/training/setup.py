"""From a recipe and a corpus to a network ready for its first step, and all that was decided.

`xunlian train` trains what this makes; `xunlian plan` only looks at it.
"""

from dataclasses import dataclass

import torch

from xunlian.errors import InputError
from xunlian.evaluation.preferences import needs_reference
from xunlian.interop.adapters import adapt
from xunlian.interop.huggingface import Model
from xunlian.machine.features import Machine, read_machine
from xunlian.machine.memory import keep_freed_memory
from xunlian.machine.rates import Rates
from xunlian.models.adapter import freeze_base, trained_weights
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.fp8 import use_fp8
from xunlian.recipe.load import load_recipe
from xunlian.recipe.settings import CHAT_TASKS, Recipe, Training
from xunlian.runs.adapted import fingerprint
from xunlian.runs.initial import start_from
from xunlian.runs.load import is_run
from xunlian.shards.corpus import Corpus
from xunlian.training import decisions
from xunlian.training.bigram_start import count_bigrams, start_from_bigrams
from xunlian.training.fitting import fit_micro_batches, memory_of, micro_rows
from xunlian.training.networks import first_model
from xunlian.training.objectives import (
    Objective,
    epoch_tokens,
    learned_tokens,
    loss_of,
    objective_of,
)
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.parallel import Group
from xunlian.training.schedule import Clock
from xunlian.training.step import Stepper
from xunlian.training.teacher import check_teacher, load_teacher

RATES_NOTE = (
    "The learning rates are those for random weights. A model that has read much forgets less with "
    "training.optimizer=adamw training.learning_rate=2e-5."
)


@dataclass(frozen=True)
class Setup:
    """A resolved recipe with everything that its training starts from.

    Args:
        step_seconds: of an eager step, roughly; a compiled one takes less.
        memory: predicted bytes by part.
        notes: what was decided and why, as the user was told.
        base: checksum of the weights that an adapter was made for, or preferences compare with.
    """

    recipe: Recipe
    machine: Machine
    rates: Rates
    memory: dict[str, int]
    objective: Objective
    stepper: Stepper
    clock: Clock
    step_seconds: float
    compile_seconds: float
    notes: tuple[str, ...]
    base: str | None


def set_up(recipe: Recipe, corpus: Corpus, group: Group, started: float) -> Setup:
    """Decide all that is open, build the network, compile it where that pays.

    Raises:
        InputError: the recipe, the corpus and the machine do not go together.
    """
    machine = read_machine()
    check_task(recipe, corpus)
    decisions.check_frozen(recipe, group.device)
    recipe, initial = start_from(recipe, corpus)
    teaching = [check_teacher(recipe, corpus)] if recipe.distill else []
    vocab_size = initial.config.vocab_size if initial else corpus.vocab_size
    decided = decisions.decide(
        recipe,
        vocab_size=vocab_size,
        corpus_tokens=learned_tokens(corpus),
        machine=machine,
        group=group,
    )
    asked = recipe.training
    recipe, tuned = decisions.apply_tuned(decided.recipe, asked, vocab_size, machine, group)
    found = [*decided.notes, *([tuned] if tuned else []), *teaching]
    fresh_rates = asked.learning_rate is None and recipe.task != "preference"
    if initial and not is_run(initial.source) and fresh_rates:
        found.append(RATES_NOTE)
    for note in found:
        decisions.tell(note, group)
    objective = objective_of(recipe, corpus)
    for note in objective.notes:
        decisions.tell(note, group)
    rows = objective.rows
    recipe, smaller = fit_micro_batches(
        recipe,
        asked,
        vocab_size,
        rows,
        group,
        compiled=decisions.can_compile(recipe, machine, group),
    )
    if smaller:
        found.append(smaller)
        decisions.tell(smaller, group)
    corpus.verify()
    model = first_model(recipe, initial, vocab_size)
    base = None
    if recipe.adapter or needs_reference(recipe):
        base = fingerprint(model)
    if recipe.adapter:
        found.append(add_adapter(model, recipe))
        decisions.tell(found[-1], group)
    if recipe.training.bigram_start:
        found.append(_start_from_bigrams(model, recipe, corpus, group))
        decisions.tell(found[-1], group)
    if recipe.training.grow_from:
        found.append(
            f"{recipe.training.grow_from} of {recipe.model.depth} blocks learn first; the others "
            "join when the rate begins to fall."
        )
        decisions.tell(found[-1], group)
    torch.manual_seed(recipe.training.seed)
    stepper = build_stepper(recipe, model, group)
    clock = decisions.clock_of(recipe, epoch_tokens(objective, corpus), started)
    micro_batches = recipe.training.batch_tokens // (  # type: ignore[operator]
        recipe.model.context * stepper.micro_rows * group.size
    )
    compiled, step_seconds, reason = decisions.decide_compile(
        stepper, objective.rows, clock, recipe.training.compile, machine, micro_batches
    )
    compiled = bool(group.from_lead(float(compiled))[0])
    notes = [*found, *objective.notes, f"{reason[0].upper()}{reason[1:]}."]
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
        recipe, clock, step_seconds * (0.7 if compiled else 1.0), learned_tokens(corpus, "val")
    )
    recipe = load_recipe(Recipe.model_validate_json(group.text_from_lead(recipe.model_dump_json())))
    return Setup(
        recipe=recipe,
        machine=machine,
        rates=decided.rates,
        memory=memory_of(recipe, vocab_size, rows, group, compiled=compiled),
        objective=objective,
        stepper=stepper,
        clock=clock,
        step_seconds=step_seconds,
        compile_seconds=compile_seconds,
        notes=tuple(notes),
        base=base,
    )


def check_task(recipe: Recipe, corpus: Corpus) -> None:
    """Raises InputError: the recipe is for another kind of corpus."""
    kinds = {"language-model": "text", **CHAT_TASKS}
    wants, has = (kinds.get(task, "pairs") for task in (recipe.task, corpus.task))
    if wants != has:
        prepare = {
            "text": "TEXT",
            "conversations": "FILES --chat",
            "preferences": "FILES --preference",
            "pairs": "--pairs SOURCE TARGET",
        }[wants]
        raise InputError(
            f"The recipe's task is {recipe.task}, but the corpus '{corpus.path}' holds {has}. Say "
            f"task={corpus.task}, or prepare another: xunlian prepare {prepare} --out CORPUS"
        )


def build_stepper(recipe: Recipe, model: Model, group: Group) -> Stepper:
    """The model with its optimizers, on the device of this process."""
    training = recipe.training
    if isinstance(model, Decoder | EncoderDecoder):
        model.attention_form = training.attention
    model.to(group.device)
    if group.device.type == "cpu":
        keep_freed_memory()
    dtype = _compute_type(recipe)
    if training.precision == "fp8":
        decisions.check_fp8(recipe, group.device)
        use_fp8(model.blocks)
    settings = _optimizer_settings(training, dtype)
    optimizers = Optimizers(model, settings)
    loss = loss_of(recipe, model, dtype)
    if teacher := load_teacher(recipe, group.device, dtype):
        loss.learn_from(teacher)
    return Stepper(
        loss,
        optimizers,
        group,
        grad_clip=training.grad_clip,
        micro_rows=micro_rows(recipe, group),
        grows=bool(training.grow_from),
    )


def _optimizer_settings(training: Training, dtype: torch.dtype) -> OptimizerSettings:
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
            "muon_block",
        )
    }
    assert training.optimizer
    return OptimizerSettings(kind=training.optimizer, iteration_dtype=dtype, **rates)


def _start_from_bigrams(model: Model, recipe: Recipe, corpus: Corpus, group: Group) -> str:
    """Teach the network the corpus's bigrams. Returns what was done, in words."""
    assert isinstance(model, Decoder)
    model.to(group.device)
    dtype = _compute_type(recipe)
    settings = _optimizer_settings(recipe.training, dtype)
    bigrams = count_bigrams(corpus.stream("train"), corpus.vocab_size)
    loss, seconds = start_from_bigrams(model, bigrams, settings, dtype)
    return (
        f"Learned from counts what follows each of {len(bigrams.tokens):,} tokens, in "
        f"{seconds:.0f} s: a loss of {loss:.2f} on the counts."
    )


def add_adapter(model: Model, recipe: Recipe) -> str:
    """Let only an adapter of `model`, whose weights are those of its base, learn.

    Returns what was done, in words.

    Raises:
        InputError: the network has no adapters, or not the matrices that are named.
    """
    assert recipe.adapter
    everything = sum(p.numel() for p in model.parameters())
    adapt(model, recipe.adapter, recipe.training.seed)
    freeze_base(model, _compute_type(recipe))
    learning = sum(tensor.numel() for tensor in trained_weights(model).values())
    name = "LoRA" if recipe.adapter.kind == "lora" else "DoRA"
    frozen = f", the blocks' matrices in {recipe.adapter.frozen}" if recipe.adapter.frozen else ""
    return (
        f"{name} of rank {recipe.adapter.rank}: {learning:,} parameters learn beside {everything:,}"
        f" frozen ones ({learning / everything:.1%}){frozen}."
    )


def _compute_type(recipe: Recipe) -> torch.dtype:
    return torch.float32 if recipe.training.precision == "fp32" else torch.bfloat16
