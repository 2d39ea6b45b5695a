"""`xunlian recipe`: the shipped recipes, one of them whole, or every setting explained."""

import argparse
import sys
from pathlib import Path

from xunlian.recipe.explain import explain
from xunlian.recipe.load import load_recipe, shipped_recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        help="'list' (default), or the name or file of a recipe to print",
    )
    parser.add_argument(
        "--explain", action="store_true", help="every setting, its type, default and meaning"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.explain:
        sys.stdout.write(explain())
    elif arguments.action == "list":
        width = max(map(len, shipped_recipes()))
        for name in shipped_recipes():
            sys.stdout.write(f"{name:<{width}}  {load_recipe(name).about}\n")
    else:
        load_recipe(arguments.action)  # refuses what is no recipe
        path = shipped_recipes().get(arguments.action, Path(arguments.action))
        sys.stdout.write(path.read_text("utf-8"))
    return 0
