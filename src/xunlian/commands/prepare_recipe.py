"""The recipe that the arguments of `xunlian prepare` amount to."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xunlian.errors import InputError, did_you_mean
from xunlian.recipe.load import fields, load_recipe, shipped_recipes, validate
from xunlian.recipe.settings import PAIR_TASKS, Recipe

_OVERRIDE = re.compile(r"[A-Za-z_]+(\.[A-Za-z_]+)+=")
_TABLES = ("task=", "corpus.", "tokenizer.")


def recipe_for(
    inputs: Sequence[str | Path],
    *,
    pairs: bool = False,
    chat: bool = False,
    preference: bool = False,
    template: str | Path | None = None,
    val: str | float | Path | Sequence[str | Path] | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    on_error: str | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The recipe that the arguments of `prepare` amount to.

    Raises:
        InputError: as `prepare`.
    """
    for override in overrides:
        if not override.lstrip().startswith(_TABLES):
            raise InputError(
                f"'{override}': prepare takes keys of [corpus] and [tokenizer] only; give others "
                "to `xunlian train`."
            )
    names = [str(given) for given in inputs]
    named = named_recipe(names[:1])
    recipe = load_recipe(named or Recipe(), overrides)
    if named:
        names = names[1:]
    values = recipe.model_dump(exclude_unset=True)
    if pairs and "task" not in values and not named:
        values["task"] = "translation"
    elif pairs and recipe.task not in PAIR_TASKS:
        raise InputError(
            f"{named or 'prepare'}: task = {recipe.task} learns from text, not from pairs. Use a "
            f"recipe whose task is {' or '.join(PAIR_TASKS)}, or leave --pairs out."
        )
    for task, wanted in (("chat", chat), ("preference", preference)):
        if wanted and not named:
            values["task"] = task
        elif wanted and recipe.task != task:
            raise InputError(f"{named}: task = {recipe.task} is no {task}. Leave --{task} out.")
    given: dict[str, dict[str, Any]] = {
        "corpus": {"sources": names or None, "val": _texts(val), "on_error": on_error},
        "tokenizer": {
            "kind": _text(tokenizer),
            "vocab_size": vocab_size,
            "chat_template": _text(template),
        },
    }
    for table, settings in given.items():
        chosen = {key: value for key, value in settings.items() if value is not None}
        values[table] = {**values.get(table, {}), **chosen}
    return validate(values, "prepare")


def is_override(text: str) -> bool:
    """Whether an argument is key=value rather than a file."""
    if text.split("=", 1)[0] in fields() and "=" in text:
        return True
    return bool(_OVERRIDE.match(text)) and not Path(text).exists()


def named_recipe(names: list[str]) -> str | None:
    """The recipe that is meant, when the input is one."""
    if len(names) != 1 or Path(names[0]).is_dir():
        return None
    name = names[0]
    if name.endswith(".toml") or (name in shipped_recipes() and not Path(name).exists()):
        return name
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    if bare and not Path(name).exists():
        raise InputError(
            f"No file, folder or shipped recipe '{name}'.{did_you_mean(name, shipped_recipes())}"
        )
    return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _texts(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(map(str, value if isinstance(value, (list, tuple)) else (value,)))
