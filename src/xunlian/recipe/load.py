"""Recipes from files and overrides, and back to TOML.

A recipe is the name of a shipped one, a TOML file, or nothing but overrides. Later wins:
defaults, then the file, then each `key=value`.
"""

import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from xunlian.errors import InputError, did_you_mean
from xunlian.files import os_errors
from xunlian.recipe.settings import Recipe

SHAPE = ("depth", "decoder_depth", "width", "heads", "kv_heads", "head_width", "mlp_width")


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe that ships with Xunlian."""
    folder = Path(str(resources.files("xunlian.recipe") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(recipe: "str | Path | Recipe", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe named by a file, by a shipped name, or given, with `overrides` applied.

    Raises:
        InputError: no such recipe, no TOML, an unknown key, or a value of the wrong type.
    """
    if isinstance(recipe, Recipe):
        name, values = "recipe", recipe.model_dump(exclude_unset=True)
    else:
        path = _find(str(recipe))
        name, values = str(recipe), read_toml(path)
    for override in overrides:
        _apply(values, override)
    _let_size_decide(values, {override.partition("=")[0].strip() for override in overrides})
    _reuse_tokenizer(values)
    return validate(values, name)


def _let_size_decide(values: dict[str, Any], overridden: set[str]) -> None:
    """A size that replaces the recipe's replaces the shape that the recipe gives, too."""
    model = values.get("model")
    if "model.size" in overridden and isinstance(model, dict):
        values["model"] = {
            name: value
            for name, value in model.items()
            if name not in SHAPE or f"model.{name}" in overridden
        }


def _reuse_tokenizer(values: dict[str, Any]) -> None:
    """A model to start from has a tokenizer, which the corpus must have, too."""
    model, tokenizer = values.get("model"), values.get("tokenizer", {})
    start = model.get("init_from") if isinstance(model, dict) else None
    if start and isinstance(tokenizer, dict) and "kind" not in tokenizer:
        values["tokenizer"] = {**tokenizer, "kind": start}


def recipe_name(recipe: "str | Path | Recipe") -> str:
    """A short name for run folders: that of the file, or 'run'."""
    return "run" if isinstance(recipe, Recipe) else Path(recipe).stem


def read_toml(path: Path) -> dict[str, Any]:
    try:
        with os_errors(path):
            return tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise InputError(f"'{path}' is not a valid TOML file: {error}.") from error


def validate(values: dict[str, Any], name: str) -> Recipe:
    """Raises InputError with the first thing that is wrong in `values`."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{name}: {_explain(error)}") from error


def _find(recipe: str) -> Path:
    if Path(recipe).is_file():
        return Path(recipe)
    shipped = shipped_recipes()
    if recipe in shipped:
        return shipped[recipe]
    raise InputError(
        f"No recipe '{recipe}': neither a file nor a shipped recipe."
        f"{did_you_mean(recipe, shipped)} `xunlian recipe list` shows the shipped ones."
    )


def _apply(values: dict[str, Any], override: str) -> None:
    """Set `table.key=value` in nested dicts. The value is TOML when it reads as such, else text."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals:
        raise InputError(
            f"'{override}' is no override; write key=value, for example training.budget=5min."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    known = fields()
    if key not in known and not any(name.startswith(key + ".") for name in known):
        raise InputError(
            f"Unknown key '{key}'.{_nearest_key(key)} `xunlian recipe --explain` lists all keys."
        )
    for table in tables:
        if not isinstance(values.get(table), dict):  # not there, or a stage that is true or false
            values[table] = {}
        values = values[table]
    annotation = known[key].annotation if key in known else None
    if str in (annotation, *get_args(annotation)) and get_origin(annotation) is not tuple:
        value = value if isinstance(value, str) else text  # corpus.val=0.1 is text
    elif get_origin(annotation) is tuple and not isinstance(value, list):
        value = [value]  # one item needs no brackets
    values[last] = value


def fields(table: type[BaseModel] = Recipe, prefix: str = "") -> dict[str, FieldInfo]:
    """Dotted name -> field of every setting of a recipe."""
    found: dict[str, FieldInfo] = {}
    for name, field in table.model_fields.items():
        if inner := _inner_table(field):
            found |= fields(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def _inner_table(field: FieldInfo) -> type[BaseModel] | None:
    """The table that a field holds, or may hold."""
    if get_origin(field.annotation) is tuple:  # a list of tables is one value
        return None
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _nearest_key(key: str) -> str:
    known = list(fields())
    same_name = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    if same_name:
        return f" Did you mean '{same_name[0]}'?"
    return did_you_mean(key, known)


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    # Neither a place in a list nor which of several types it is.
    key = ".".join(str(part) for part in first["loc"] if str(part).isidentifier())
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'.{_nearest_key(key)} `xunlian recipe --explain` lists all keys."
    reason = first["msg"].removeprefix("Value error, ")
    field = fields().get(key)
    about = f" {key}: {field.description}" if field and field.description else ""
    if first["type"] == "missing":
        return f"{key} is missing.{about}"
    return f"{key} = {first['input']!r}: {reason[0].lower()}{reason[1:]}.{about}"


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML, every value that is not None written out."""
    return "\n".join(_toml_lines(recipe)) + "\n"


def _toml_lines(table: BaseModel, prefix: str = "") -> Iterator[str]:
    inner = []
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            inner.append((name, value))
        elif value is not None:
            yield f"{name} = {_toml_value(value)}"
    for name, value in inner:
        yield ""
        yield f"[{prefix}{name}]"
        yield from _toml_lines(value, f"{prefix}{name}.")


def _toml_value(value: Any) -> str:
    import json

    if isinstance(value, BaseModel):
        pairs = ((name, getattr(value, name)) for name in type(value).model_fields)
        return "{" + ", ".join(f"{k} = {_toml_value(v)}" for k, v in pairs if v is not None) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def type_name(field: FieldInfo) -> str:
    """How a field's type reads in the help."""

    def name(annotation: Any) -> str:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return "table"
        if get_origin(annotation) is Annotated:
            return name(get_args(annotation)[0])
        arguments = [a for a in get_args(annotation) if a not in (NoneType, Ellipsis)]
        if annotation in (str, int, float, bool):
            return {str: "text", int: "whole number", float: "number", bool: "true or false"}[
                annotation
            ]
        if arguments and all(isinstance(a, str) for a in arguments):
            return " | ".join(arguments)
        if getattr(annotation, "__origin__", None) is tuple:
            return f"list of {name(arguments[0])}"
        return " or ".join(name(a) for a in arguments)

    return name(field.annotation)
