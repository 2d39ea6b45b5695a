"""What several commands say and take alike."""

import argparse
import sys
from typing import Any


def add_recipe(parser: argparse.ArgumentParser, note: str = "") -> None:
    """RECIPE and key=value; `note` is added to what is said of the latter."""
    parser.add_argument("recipe", metavar="RECIPE", help="a file, or the name of a shipped recipe")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help=f"settings that replace those of the recipe{note}",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(found: dict[str, Any]) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
