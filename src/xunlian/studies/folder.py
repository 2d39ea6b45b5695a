"""A folder of runs that belong together: the same call again goes on with it.

FOLDER/
  comparison.toml or forecast.toml   the recipe that all of it is about
  recipes/NAME.toml                  the recipe of each run
  NAME/                              the runs
"""

import shutil
from pathlib import Path
from typing import Any

from xunlian.console import say
from xunlian.errors import InputError, XunlianError
from xunlian.files import write_text
from xunlian.recipe.load import fields, read_toml, to_toml, validate
from xunlian.recipe.settings import Recipe
from xunlian.runs.folder import open_run
from xunlian.studies import child


def claim_folder(folder: Path, what: str, recipe: Recipe, mend: str) -> None:
    """Make the folder of a `what` of `recipe`, or see that it is that already.

    Raises:
        InputError: it is something else, or of another recipe; `mend` says what to do.
    """
    file = folder / f"{what}.toml"
    if not file.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"'{folder}' exists already and is no {what}. {mend}")
        write_text(file, to_toml(recipe))
        return
    before = validate(read_toml(file), str(file))
    for key in fields():
        here: Any = recipe.model_dump()
        there: Any = before.model_dump()
        for part in key.split("."):
            here, there = ((table or {}).get(part) for table in (here, there))
        if here != there:
            raise InputError(f"The {what} in '{folder}' has {key} = {there}, not {here}. {mend}")


def train_once(path: Path, recipe: Recipe, recipes: Path) -> None:
    """Train the run at `path`, go on with it, or leave it as it is when finished.

    Args:
        recipes: folder in which the recipe is written down, under the run's name.

    Raises:
        As `train_in_child`.
    """
    if (path / "recipe.toml").is_file():
        run = open_run(path)
        if run.facts().get("finished"):
            say("is finished already.")
            return
        if any(run.checkpoints.glob("step-*")):
            child.train_in_child([str(path), "--resume"])
            return
        shutil.rmtree(path)  # it came to nothing that could be gone on with
    file = recipes / f"{path.name}.toml"
    write_text(file, to_toml(recipe))
    child.train_in_child([str(file), "--out", str(path)])
    if not open_run(path).facts().get("finished"):
        raise XunlianError(f"The training in '{path}' has not finished. Give the command again.")
