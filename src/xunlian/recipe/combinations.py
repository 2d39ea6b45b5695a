"""Settings that do not go together, and those that the task decides."""

from xunlian.errors import InputError
from xunlian.recipe.preference import BETA, Preference
from xunlian.recipe.settings import Model, Recipe
from xunlian.recipe.size import IMPORTED_PAIRS


def check_distill(recipe: Recipe) -> None:
    if recipe.distill and recipe.task == "preference":
        raise InputError(
            "[distill] teaches tokens, and task = preference compares whole answers. Leave "
            "[distill] out."
        )


def check_chat(recipe: Recipe) -> None:
    """Raises InputError: a network in which conversations cannot share a row."""
    model = recipe.model
    name = "architecture" if model.family == "transformer" else "family"
    if name == "family" or model.architecture == "speedrun":
        raise InputError(
            f"model.{name} = {getattr(model, name)} is not for task = {recipe.task}, whose "
            "conversations share rows. Leave it out."
        )


def check_adapter(recipe: Recipe) -> None:
    """Raises InputError: an adapter does not go with the rest."""
    if not recipe.model.init_from:
        raise InputError(
            "[adapter] changes a model that is there: name it by model.init_from, or leave "
            "[adapter] out to train a new one."
        )
    if recipe.training.precision == "fp8":
        raise InputError("[adapter] has no products in 8 bits. Leave training.precision=fp8 out.")


def with_preference(recipe: Recipe) -> Recipe:
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


def with_architecture(model: Model, pairs: bool) -> Model:
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


def check_batch(batch_tokens: int, context: int, processes: int) -> None:
    if batch_tokens % (context * processes):
        near = max(1, round(batch_tokens / (context * processes))) * context * processes
        raise InputError(
            f"training.batch_tokens = {batch_tokens} is not a multiple of model.context x "
            f"processes = {context} x {processes}; use {near}."
        )
