"""`xunlian train`: a recipe in, a run folder out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xunlian.recipe.settings import Recipe
    from xunlian.runs.folder import Run
    from xunlian.shards.corpus import Corpus
    from xunlian.training.parallel import Group


def train(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    started: float | None = None,
) -> "Run":
    """Train a model by a recipe.

    Args:
        recipe: a file, the name of a shipped recipe, or a `Recipe`; with `resume` also a run.
        overrides: 'key=value', such as 'training.budget=5min'.
        out: the run folder; default runs/<recipe>-<n>.
        resume: go on with the run `out` (default: the recipe's last one).
        started: when the wall-clock budget began (time.time()); default now.

    Returns:
        The finished run.

    Raises:
        InputError: the recipe, the corpus or the folder is wrong; nothing was left behind.
        Interrupted: stopped by Ctrl-C or SIGTERM; a checkpoint was written.
    """
    import time

    from xunlian.console import quiet
    from xunlian.training.parallel import join_group, leave_group

    started = started or time.time()
    group = join_group()
    if not group.leads:
        quiet()
    try:
        return _train(recipe, overrides, out, resume, started, group)
    finally:
        leave_group(group)


def _train(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str],
    out: str | Path | None,
    resume: bool,
    started: float,
    group: "Group",
) -> "Run":
    from xunlian.errors import InputError, Interrupted
    from xunlian.recipe.load import load_recipe, recipe_name
    from xunlian.recipe.settings import Recipe
    from xunlian.runs.folder import latest_run_path, next_run_path, open_run
    from xunlian.runs.load import load_folder
    from xunlian.training.job import resume as resume_job
    from xunlian.training.job import start
    from xunlian.training.summary import summarize

    name = recipe_name(recipe)
    if resume:
        is_run = not isinstance(recipe, Recipe) and (Path(recipe) / "recipe.toml").is_file()
        path = Path(out) if out else Path(str(recipe)) if is_run else latest_run_path(name)
        if path is None:
            raise InputError(
                f"There is no run of '{name}' in 'runs' to go on with; name it with "
                "--out, or leave out --resume."
            )
        corpus = recipe_corpus(open_run(path).recipe, name, group)
        outcome = resume_job(path, overrides, corpus, group, started)
    else:
        wanted = load_recipe(recipe, overrides)
        path = Path(out) if out else next_run_path(name)
        if path.exists():
            raise InputError(
                f"The run folder '{path}' exists already. Go on in it with --resume, "
                "or choose another with --out."
            )
        if wanted.model.init_from:
            load_folder(wanted.model.init_from)  # before a corpus is made for it
        corpus = recipe_corpus(wanted, name, group)
        table = wanted.corpus.model_copy(update={"path": str(corpus.path)})
        outcome = start(wanted.model_copy(update={"corpus": table}), corpus, path, group, started)
    if not outcome.finished:
        raise Interrupted(
            f"stopped at step {outcome.progress.step}; a checkpoint is written. Go "
            f"on with: xunlian train {path} --resume"
        )
    if group.leads:
        summarize(outcome.run, corpus)
    return outcome.run


def recipe_corpus(recipe: "Recipe", name: str, group: "Group") -> "Corpus":
    """The recipe's corpus, prepared from its sources when it is not there yet."""
    from xunlian.commands.prepare import prepare_from_recipe
    from xunlian.console import say
    from xunlian.errors import InputError
    from xunlian.recipe.resolve import check_settings
    from xunlian.shards.corpus import open_corpus

    path = Path(recipe.corpus.path or f"corpora/{name}")
    # The lead says whether: it may have begun to make it.
    missing = bool(group.from_lead(float(not (path / "corpus.json").exists()))[0])
    if missing and recipe.corpus.names_text:
        check_settings(recipe)
        if group.leads:
            prepare_from_recipe(recipe, path)
        group.wait()
    elif not recipe.corpus.path and not recipe.corpus.names_text:
        raise InputError(
            "The recipe names no corpus. Make one with `xunlian prepare TEXT --out "
            "corpora/mine` and add corpus.path=corpora/mine."
        )
    elif recipe.corpus.names_text and group.leads:
        say(
            f"Using the corpus '{path}', which is there already, as it is: [corpus] and "
            "[tokenizer] are not looked at again. corpus.path=OTHER makes another."
        )
    return open_corpus(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from xunlian.recipe.explain import explain

    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a file, the name of a shipped recipe "
        "(`xunlian recipe list`), or with --resume a run folder",
    )
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="settings that replace those of the recipe",
    )
    parser.add_argument("--out", metavar="RUN", help="run folder; default runs/<recipe>-<n>")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.epilog = "Settings (key=value):\n\n" + explain()


def run(arguments: argparse.Namespace) -> int:
    from xunlian.machine.features import process_start

    done = train(
        arguments.recipe,
        arguments.overrides,
        out=arguments.out,
        resume=arguments.resume,
        started=process_start(),
    )
    sys.stdout.write(f"{done.path}\n")
    return 0
