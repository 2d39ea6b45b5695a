"""`xunlian compare`: what each architecture is worth, on the same corpus, size and time."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.common import add_json, add_recipe, print_json

if TYPE_CHECKING:
    from xunlian.recipe.settings import Recipe

ALL_FAMILIES = "rnn,gru,lstm,transformer"


def compare(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    families: str | Sequence[str] = ALL_FAMILIES,
    budget: str | None = None,
    out: str | Path | None = None,
    seeds: int = 1,
    probe: bool = True,
) -> dict[str, Any]:
    """Train every family on the recipe's corpus, with as many parameters and as much time each.

    Each is an ordinary run, OUT/<family>-<seed>, trained by a process of its own. The same call
    again goes on with what was interrupted and keeps what is finished. Table, pictures and numbers
    go to OUT/compare.html, compare.png and compare.json.

    Args:
        recipe: a file, the name of a shipped recipe, or a `Recipe`. Its own family has the size
            that the recipe gives; the others come within a few percent of it.
        overrides: 'key=value', such as 'model.size=2m'.
        families: names, of rnn, gru, lstm, transformer.
        budget: of each family, as training.budget has it. Default: that of the recipe.
        out: the folder; default runs/compare-<recipe>.
        seeds: how often each trains, with seeds one after the other from training.seed on.
        probe: whether to train small networks to copy symbols over a distance, too: about a fifth
            of a budget in time on top of it (1.5 steps for each of its seconds, at most 600).

    Returns:
        `runs`, each with family, seed, parameters, steps, tokens, seconds, tokens_per_second,
        `scores` (loss, perplexity, ..., of pairs also bleu, ...), `by_position` (of pairs also
        `by_source_length`), `curve`; `probe`, each with family, accuracy by distance, and reach;
        and what was compared.

    Raises:
        InputError: the recipe, a family, the budget or the folder is wrong.
        Interrupted: stopped by Ctrl-C or SIGTERM; what was trained is kept.
    """
    from xunlian.commands.train import recipe_corpus
    from xunlian.errors import InputError
    from xunlian.recipe.load import load_recipe, recipe_name
    from xunlian.studies.compare import compare_families, parse_whole_budget
    from xunlian.studies.equal import family_names
    from xunlian.training.parallel import join_group

    name = recipe_name(recipe)
    names = family_names(families)
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: each family trains at least once.")
    wanted, _ = parse_whole_budget(load_recipe(recipe, overrides), budget)
    group = join_group()
    if group.size > 1:
        raise InputError("`xunlian compare` starts its own processes; call it without torchrun.")
    corpus = recipe_corpus(wanted, name, group)
    table = wanted.corpus.model_copy(update={"path": str(corpus.path)})
    return compare_families(
        wanted.model_copy(update={"corpus": table}),
        name,
        corpus,
        names,
        Path(out) if out else Path("runs") / f"compare-{name}",
        seeds=seeds,
        probe=probe,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, ", for all families")
    parser.add_argument(
        "--families",
        metavar="NAMES",
        default=ALL_FAMILIES,
        help=f"with commas between; default: {ALL_FAMILIES}",
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="how long each family trains, such as 5min, 200steps or 10Mtokens; default: as the "
        "recipe says",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the comparison; default runs/compare-<recipe>"
    )
    parser.add_argument(
        "--seeds", metavar="N", type=int, default=1, help="trainings of each family; default: 1"
    )
    parser.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="leave out the copy probe, which takes about a fifth of the budget on top of it",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    result = compare(
        arguments.recipe,
        arguments.overrides,
        families=arguments.families,
        budget=arguments.budget,
        out=arguments.out,
        seeds=arguments.seeds,
        probe=arguments.probe,
    )
    if arguments.json:
        print_json(result)
    else:
        from xunlian.report.comparison_table import table

        sys.stdout.write(table(result) + "\n")
    return 0
