"""`xunlian tune`: the fastest settings for this machine, by short measured trials."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.common import add_json, add_recipe, print_json

if TYPE_CHECKING:
    from xunlian.recipe.settings import Recipe


def tune(recipe: "str | Path | Recipe", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Try the settings that the recipe leaves open, and keep what is fastest for `train`.

    Micro-batch, form of attention, threads, precision and compiling are tried with a few real steps
    each; what gains at least 3% is written to the machine profile of the user, for this network on
    this machine. What is learned stays the same but for rounding.

    Args:
        recipe: a file, the name of a shipped recipe, or a `Recipe`.
        overrides: 'key=value', such as 'model.size=30m'.

    Returns:
        `settings` that differ from the `defaults`, `gain`, `step_seconds`,
        `default_step_seconds`, and the file `profile`.

    Raises:
        InputError: the recipe, the corpus and the machine do not go together.
    """
    from xunlian.commands.train import recipe_corpus
    from xunlian.errors import InputError
    from xunlian.recipe.load import load_recipe, recipe_name
    from xunlian.studies.tune import tune_here
    from xunlian.training.parallel import join_group

    name, wanted = recipe_name(recipe), load_recipe(recipe, overrides)
    if wanted.adapter:
        raise InputError("`xunlian tune` is for whole networks; leave [adapter] out.")
    group = join_group()
    if group.size > 1:
        raise InputError("`xunlian tune` is one process; call it without torchrun.")
    return tune_here(wanted, recipe_corpus(wanted, name, group), group)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, "; what is set is not tuned")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = tune(arguments.recipe, arguments.overrides)
    if arguments.json:
        print_json(found)
    elif found["settings"]:
        words = ", ".join(f"training.{name}={value}" for name, value in found["settings"].items())
        sys.stdout.write(
            f"{found['gain']:.2f}x as fast with {words}\n"
            f"Kept in {found['profile']}: `xunlian train` uses it for this network from now on.\n"
        )
    else:
        sys.stdout.write("The defaults are the fastest here.\n")
    return 0
