"""Every derived value of a recipe, from the size, the corpus and the speed of the machine.

The constants were chosen by measurement on small models; docs/architecture.md says which.
"""

import math
from typing import Any

from xunlian.errors import InputError
from xunlian.recipe.budget import parse_budget
from xunlian.recipe.preference import BETA, Preference
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import CHAT_TASKS, PAIR_TASKS, Model, Recipe, Training
from xunlian.recipe.size import (
    IMPORTED_PAIRS,
    Shape,
    count_parameters,
    derive_any_shape,
    training_flops_per_token,
)
from xunlian.recipe.starts import check_starts, choose_starts

TOKENS_PER_PARAMETER = 20  # arXiv 2203.15556
MOST_EPOCHS = 8  # repeating four times costs nothing, more brings less: arXiv 2305.16264
# Share of the matrix rate that a training reaches: half, less for narrow networks (measured: 26% at
# width 192, 46% at 384).
EXPECTED_MFU = 0.5
FULL_SPEED_WIDTH = 384
SMALLEST_MUON_BLOCK = 128
TUNING_BUDGET = "3 epochs"  # an adapter learns a small text, preferences bend a model a little
# Of preferences, at a width of 384; an adapter takes three times as much. On align-en (width 128,
# one seed) DPO with 1.7e-4 left what was known as it was, an adapter with 5e-4, too, but not with
# 1e-3. ORPO learns the answers as well, and was alike with 4e-4 and 1e-3.
ALIGN_RATES = {"dpo": 1e-4, "simpo": 1e-4, "orpo": 5e-4}
RECURRENT_MFU = 0.25  # their steps wait for each other
RECURRENT_MICRO_TOKENS = 16_384  # the more rows at a time, the better


def resolve(
    recipe: Recipe,
    *,
    vocab_size: int,
    corpus_tokens: int,
    matmul_rate: float,
    on_gpu: bool,
    processes: int = 1,
) -> Recipe:
    """Fill in every None that does not need a running model.

    Args:
        vocab_size: of the corpus.
        corpus_tokens: of its training split.
        matmul_rate: floating-point operations a second of one process, as measured.
        on_gpu: whether the network runs on an accelerator.
        processes: how many work together.

    Raises:
        InputError: values that cannot be combined.
    """
    _check_distill(recipe)
    pairs = recipe.task in PAIR_TASKS
    aligning = recipe.task == "preference"
    if recipe.task in CHAT_TASKS:
        _check_chat(recipe)
    if recipe.task != "chat" and recipe.training.neftune_alpha:
        raise InputError("training.neftune_alpha is for task = chat. Leave it out.")
    if aligning or recipe.preference:
        recipe = _with_preference(recipe)
    if recipe.adapter:
        _check_adapter(recipe)
    model = _with_architecture(recipe.model, pairs)
    try:
        shape = derive_any_shape(model, vocab_size, pairs)
    except ValueError as error:
        raise InputError(f"{error}.") from error
    if not (model.size or model.depth or model.width):
        model = model.model_copy(update={"depth": shape.depth})
    parameters = count_parameters(model, shape, vocab_size)
    gently = aligning or recipe.adapter is not None
    optimizer = recipe.training.optimizer or ("adamw" if gently else "muon")
    training = recipe.training.model_copy(update={"optimizer": optimizer})
    default = TUNING_BUDGET if gently else _default_budget(parameters, corpus_tokens)
    budget_text = training.budget or default
    budget = parse_budget(budget_text)
    recurrent = isinstance(shape, RecurrentShape)
    speed = (
        (RECURRENT_MFU if recurrent else EXPECTED_MFU)
        * min(1.0, shape.width / FULL_SPEED_WIDTH)
        * matmul_rate
        * processes
        / training_flops_per_token(model, shape, vocab_size, frozen=recipe.adapter is not None)
    )
    batch_tokens = training.batch_tokens
    if batch_tokens is None:
        known = {
            "tokens": budget.amount,
            "epochs": budget.amount * corpus_tokens,
            "seconds": 0.8 * budget.amount * speed,
        }
        batch_tokens = _batch_tokens(parameters, known.get(budget.unit), model.context, processes)
    total = {
        "tokens": budget.amount,
        "epochs": budget.amount * corpus_tokens,
        "seconds": 0.8 * budget.amount * speed,
        "steps": budget.amount * batch_tokens,
    }
    _check_batch(batch_tokens, model.context, processes)
    starting = recipe.model_copy(update={"model": model})
    check_starts(starting, shape)
    values: dict[str, Any] = {
        "budget": budget_text,
        "batch_tokens": batch_tokens,
        "micro_batch_tokens": training.micro_batch_tokens
        or (65_536 if on_gpu else RECURRENT_MICRO_TOKENS if recurrent else 4_096),
        **_rates(
            training,
            shape,
            adapter=recipe.adapter is not None,
            method=recipe.preference.method if recipe.preference else None,
            embedding_rate=_embedding_rate(model, shape, training.bigram_start),
        ),
        **choose_starts(
            starting,
            shape,
            vocab_size,
            tokens=total[budget.unit],
            corpus_tokens=corpus_tokens,
            on_gpu=on_gpu,
        ),
    }
    if training.muon_block is None:
        values["muon_block"] = _muon_block(batch_tokens, shape.width)
    if recurrent and pairs and training.compile == "auto":
        values["compile"] = "off"  # their batches have many shapes
    if training.label_smoothing is None:
        values["label_smoothing"] = 0.1 if pairs else 0.0
    dropout = model.dropout
    if dropout is None:
        dropout = 0.0 if gently else _dropout(total[budget.unit] / corpus_tokens, pairs)
    return recipe.model_copy(
        update={
            "model": model.model_copy(update={**vars(shape), "dropout": dropout}),
            "training": training.model_copy(update=values),
        }
    )


def check_settings(recipe: Recipe) -> None:
    """Refuse what no corpus could make right, before one is prepared for it.

    Raises:
        InputError: values that cannot be combined.
    """
    _check_distill(recipe)
    if not recipe.model.init_from:  # whose shape is known later
        resolve(recipe, vocab_size=1000, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False)


def _check_distill(recipe: Recipe) -> None:
    if recipe.distill and recipe.task == "preference":
        raise InputError(
            "[distill] teaches tokens, and task = preference compares whole answers. Leave "
            "[distill] out."
        )


def _check_adapter(recipe: Recipe) -> None:
    """Raises InputError: an adapter does not go with the rest."""
    if not recipe.model.init_from:
        raise InputError(
            "[adapter] changes a model that is there: name it by model.init_from, or leave "
            "[adapter] out to train a new one."
        )
    if recipe.training.precision == "fp8":
        raise InputError("[adapter] has no products in 8 bits. Leave training.precision=fp8 out.")


def _with_architecture(model: Model, pairs: bool) -> Model:
    """With the layout that the task has when none is given.

    Raises:
        InputError: it does not go with the task.
    """
    if model.decoder_depth and not pairs:
        raise InputError("model.decoder_depth is for pairs: task = translation or summarization.")
    if model.family != "transformer":
        return model
    if pairs and model.architecture in IMPORTED_PAIRS:
        if model.init_from:
            return model
        raise InputError(
            f"model.architecture = {model.architecture} is not made anew: start from such a model "
            "with model.init_from, or choose pegasus or marian."
        )
    known = (
        ("pegasus", "marian")
        if pairs
        else ("qwen3", "qwen2", "llama", "mistral", "gpt2", "speedrun")
    )
    if model.architecture not in (None, *known):
        raise InputError(
            f"model.architecture = {model.architecture} is not for "
            f"{'pairs' if pairs else 'one text'}; choose {' or '.join(known)}."
        )
    return model.model_copy(update={"architecture": model.architecture or known[0]})


def _with_preference(recipe: Recipe) -> Recipe:
    """With the table [preference] whole.

    Raises:
        InputError: it does not go with the rest.
    """
    if recipe.task != "preference":
        raise InputError("[preference] is for task = preference. Leave it out, or set the task.")
    if not recipe.model.init_from:
        raise InputError(
            "Preferences bend a model that can answer already: name one by model.init_from, such "
            "as a run of task=chat."
        )
    given = recipe.preference or Preference()
    smoothing = recipe.training.label_smoothing or 0.0
    if smoothing and given.method == "orpo":
        raise InputError("training.label_smoothing is not for preference.method = orpo.")
    if smoothing >= 0.5:
        raise InputError(
            f"training.label_smoothing = {smoothing} would take half of the preferences for the "
            "wrong way round. Set less than 0.5."
        )
    beta = BETA[given.method] if given.beta is None else given.beta
    return recipe.model_copy(update={"preference": given.model_copy(update={"beta": beta})})


def _check_chat(recipe: Recipe) -> None:
    """Raises InputError: a network in which conversations cannot share a row."""
    model = recipe.model
    name = "architecture" if model.family == "transformer" else "family"
    if name == "family" or model.architecture == "speedrun":
        raise InputError(
            f"model.{name} = {getattr(model, name)} is not for task = {recipe.task}, whose "
            "conversations share rows. Leave it out."
        )


def _default_budget(parameters: int, corpus_tokens: int) -> str:
    return f"{min(TOKENS_PER_PARAMETER * parameters, MOST_EPOCHS * corpus_tokens)} tokens"


def _batch_tokens(parameters: int, total_tokens: float | None, context: int, processes: int) -> int:
    """By size, but small enough that a short training still has some hundreds of steps."""
    by_size = next(
        (
            batch
            for limit, batch in ((3e6, 4096), (2e7, 8192), (8e7, 16384), (3e8, 65536))
            if parameters <= limit
        ),
        262144,
    )
    batch = float(by_size)
    if total_tokens is not None:
        batch = min(batch, max(2048.0, total_tokens / 400))
    unit = context * processes
    return max(unit, round(batch / unit) * unit)


def _check_batch(batch_tokens: int, context: int, processes: int) -> None:
    if batch_tokens % (context * processes):
        near = max(1, round(batch_tokens / (context * processes))) * context * processes
        raise InputError(
            f"training.batch_tokens = {batch_tokens} is not a multiple of model.context x "
            f"processes = {context} x {processes}; use {near}."
        )


def _muon_block(batch_tokens: int, width: int) -> int:
    """The slices of Muon; 0 where whole matrices cost little beside a batch of this size.

    Slices of b rows cost 10 b / (3 batch_tokens) of the products of their matrices.
    """
    block = max(SMALLEST_MUON_BLOCK, 2 ** round(math.log2(batch_tokens / 64)))
    return block if block < width else 0


def _embedding_rate(model: Model, shape: Shape | RecurrentShape, bigrams: bool) -> float:
    """The peak rate of the embedding beside Muon, at a width of 384."""
    if shape.decoder_depth is not None:
        # It is the head, too. Multi30k, 150 s: 0.003, 0.0065 and 0.02 gave validation losses of
        # 3.26, 2.85 and 2.99.
        return 0.0065
    fresh = model.family == "transformer" and model.architecture != "gpt2" and not model.init_from
    if not (fresh and shape.tied):
        return 0.02
    # Its logits start with a small gain (models/decoder.py). What counts have taught it should
    # stay: 0.02 instead of 0.005 then lost 0.11 nats of 5.49.
    return 0.005 if bigrams else 0.04


def _rates(
    training: Training,
    shape: Shape | RecurrentShape,
    *,
    adapter: bool,
    method: str | None,
    embedding_rate: float,
) -> dict[str, float]:
    """Peak learning rates by kind of parameter."""
    by_width = (shape.width / 384) ** -0.5
    if training.optimizer == "muon":
        rates = {
            "learning_rate": 0.02,
            "embedding_learning_rate": embedding_rate * by_width,
            "head_learning_rate": 0.004 * by_width,
            "norm_learning_rate": 0.01,
            "weight_decay": 0.01,
        }
    elif method:
        rate = training.learning_rate or ALIGN_RATES[method] * (3 if adapter else 1) * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": rate,
            "weight_decay": 0.0,
        }
    elif adapter:
        # 4 layers of width 128, rank 16, from encyclopedia to dialogues, 60 steps of 1,024 tokens
        # (validation loss, one seed): 2.52 with 0.004 and LoRA+; plain AdamW 2.63 at best (0.02),
        # Muon 2.56 at best (0.035).
        rate = training.learning_rate or 0.0025 * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": 2.5 * rate,
            "weight_decay": 0.0,
        }
    else:
        rate = training.learning_rate or 0.003 * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": rate,
            "weight_decay": 0.1,
        }
    given = {name: getattr(training, name) for name in rates}
    return {name: given[name] if given[name] is not None else rate for name, rate in rates.items()}


def _dropout(epochs: float, pairs: bool) -> float:
    """None while text is hardly repeated, more the oftener it is; pairs take more."""
    if pairs:
        return 0.1 if epochs <= 5 else 0.2 if epochs <= 12 else 0.3
    return 0.0 if epochs <= 5 else 0.1 if epochs <= 12 else 0.2


def shape_of(model: Model) -> Shape | RecurrentShape:
    """The shape of a resolved recipe."""
    kind = Shape if model.family == "transformer" else RecurrentShape
    return kind(**{name: getattr(model, name) for name in kind.__dataclass_fields__})
