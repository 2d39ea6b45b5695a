"""Every derived value of a recipe, from the size, the corpus and the speed of the machine.

The constants were chosen by measurement on small models; docs/architecture.md says which.
"""

from typing import Any

from xunlian.errors import InputError
from xunlian.recipe.budget import parse_budget
from xunlian.recipe.combinations import (
    check_adapter,
    check_batch,
    check_chat,
    check_distill,
    with_architecture,
    with_preference,
)
from xunlian.recipe.rates import embedding_rate, muon_block, peak_rates
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import CHAT_TASKS, PAIR_TASKS, Model, Recipe
from xunlian.recipe.size import (
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
TUNING_BUDGET = "3 epochs"  # an adapter learns a small text, preferences bend a model a little
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
    check_distill(recipe)
    pairs = recipe.task in PAIR_TASKS
    aligning = recipe.task == "preference"
    if recipe.task in CHAT_TASKS:
        check_chat(recipe)
    if recipe.task != "chat" and recipe.training.neftune_alpha:
        raise InputError("training.neftune_alpha is for task = chat. Leave it out.")
    if aligning or recipe.preference:
        recipe = with_preference(recipe)
    if recipe.adapter:
        check_adapter(recipe)
    model = with_architecture(recipe.model, pairs)
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
    expected = {
        "tokens": budget.amount,
        "epochs": budget.amount * corpus_tokens,
        "seconds": 0.8 * budget.amount * speed,
    }
    batch_tokens = training.batch_tokens or _batch_tokens(
        parameters, expected.get(budget.unit), model.context, processes
    )
    total_tokens = {**expected, "steps": budget.amount * batch_tokens}[budget.unit]
    check_batch(batch_tokens, model.context, processes)
    starting = recipe.model_copy(update={"model": model})
    check_starts(starting, shape)
    values: dict[str, Any] = {
        "budget": budget_text,
        "batch_tokens": batch_tokens,
        "micro_batch_tokens": training.micro_batch_tokens
        or (65_536 if on_gpu else RECURRENT_MICRO_TOKENS if recurrent else 4_096),
        **peak_rates(
            training,
            shape,
            adapter=recipe.adapter is not None,
            method=recipe.preference.method if recipe.preference else None,
            embedding_rate=embedding_rate(model, shape, training.bigram_start),
        ),
        **choose_starts(
            starting,
            shape,
            vocab_size,
            tokens=total_tokens,
            corpus_tokens=corpus_tokens,
            on_gpu=on_gpu,
        ),
    }
    if training.muon_block is None:
        values["muon_block"] = muon_block(batch_tokens, shape.width)
    if recurrent and pairs and training.compile == "auto":
        values["compile"] = "off"  # their batches have many shapes
    if training.label_smoothing is None:
        values["label_smoothing"] = 0.1 if pairs else 0.0
    dropout = model.dropout
    if dropout is None:
        dropout = 0.0 if gently else _dropout(total_tokens / corpus_tokens, pairs)
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
    check_distill(recipe)
    if not recipe.model.init_from:  # whose shape is known later
        resolve(recipe, vocab_size=1000, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False)


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


def _dropout(epochs: float, pairs: bool) -> float:
    """None while text is hardly repeated, more the oftener it is; pairs take more."""
    if pairs:
        return 0.1 if epochs <= 5 else 0.2 if epochs <= 12 else 0.3
    return 0.0 if epochs <= 5 else 0.1 if epochs <= 12 else 0.2


def shape_of(model: Model) -> Shape | RecurrentShape:
    """The shape of a resolved recipe."""
    kind = Shape if model.family == "transformer" else RecurrentShape
    return kind(**{name: getattr(model, name) for name in kind.__dataclass_fields__})
