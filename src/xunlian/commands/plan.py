"""`xunlian plan`: what a training would take, before it is spent."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.common import add_json, add_recipe, print_json

if TYPE_CHECKING:
    from xunlian.recipe.settings import Recipe

DEFAULT_VOCAB_SIZE = 32_768


def plan(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    gpu: Sequence[str] = (),
    price: float | None = None,
    fit: bool = False,
    started: float | None = None,
) -> list[dict[str, Any]]:
    """Data, time, memory and cost of a training; nothing is trained.

    On this machine a few steps are timed (a corpus is needed; it is prepared from the recipe's
    sources when it is not there). For other cards it is arithmetic from their data sheets, for
    which a corpus is not needed.

    Args:
        recipe: a file, the name of a shipped recipe, or a `Recipe`.
        overrides: 'key=value', such as 'model.size=124m'.
        gpu: cards to plan for instead of this machine, such as 'h100' or 'a100:8'.
        price: of one card, or of this machine, for an hour; fills in `cost`.
        fit: also train three small parts of it (7/32 of the whole, in runs/plan-<recipe>, to be
            gone on with by the same call) and extrapolate to the loss at its end.
        started: when this process began (time.time()), which counts as start-up; default now.

    Returns:
        A plan for each of `gpu`, or the one for this machine: device, seconds, steps, tokens,
        tokens_per_second, mfu, memory by part in bytes, parameters, advice, ...; with
        `fit` also `forecast`: loss and error in nats, and the tokens and losses of the three.

    Raises:
        InputError: recipe, corpus and machine do not go together, or a card is not known.
    """
    import time

    from xunlian.commands.train import recipe_corpus
    from xunlian.errors import InputError
    from xunlian.interop.huggingface import read_config
    from xunlian.recipe.load import load_recipe, recipe_name
    from xunlian.runs.load import load_folder
    from xunlian.studies.plan import advice, plan_for_card, plan_here
    from xunlian.studies.scaling import forecast
    from xunlian.training.objectives import learned_tokens
    from xunlian.training.parallel import join_group

    name, wanted = recipe_name(recipe), load_recipe(recipe, overrides)
    group = join_group()
    if group.size > 1:
        raise InputError("`xunlian plan` is one process; call it without torchrun.")
    if price is not None and price < 0:
        raise InputError(f"--price {price:g}: a price is not negative.")
    if fit and gpu:
        raise InputError("--fit trains on this machine; leave out --gpu.")
    if gpu:
        vocab_size, tokens = wanted.tokenizer.vocab_size or DEFAULT_VOCAB_SIZE, None
        vocab_size *= 1 + wanted.tokenizer.separate
        if wanted.corpus.path or wanted.corpus.names_text:
            corpus = recipe_corpus(wanted, name, group)
            vocab_size, tokens = corpus.vocab_size, learned_tokens(corpus)
        if wanted.model.init_from:
            theirs = read_config(load_folder(wanted.model.init_from)).vocab_size
            vocab_size = theirs if tokens is None else max(theirs, vocab_size)
        plans = [plan_for_card(wanted, card, vocab_size, tokens) for card in gpu]
    else:
        corpus = recipe_corpus(wanted, name, group)
        if fit and not learned_tokens(corpus, "val"):
            raise InputError(
                f"--fit needs text to validate on, and '{corpus.path}' holds none out. Prepare it "
                "with --val, or set corpus.val and another corpus.path."
            )
        plans = [plan_here(wanted, corpus, group, started or time.time())]
    if fit:
        table = wanted.corpus.model_copy(update={"path": str(corpus.path)})
        plans[0]["forecast"] = forecast(
            wanted.model_copy(update={"corpus": table}),
            plans[0]["steps"],
            plans[0]["batch_tokens"],
            Path("runs") / f"plan-{name}",
        )
    for each in plans:
        each["advice"] = advice(each)
        if price is not None:
            each["cost"] = price * each["devices"] * each["seconds"] / 3600
    return plans


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from xunlian.machine.accelerators import ACCELERATORS

    add_recipe(parser)
    parser.add_argument(
        "--gpu",
        metavar="CARD",
        action="append",
        default=[],
        help="plan for this card, or CARD:COUNT, instead of this machine; may be given several "
        f"times. Known: {', '.join(ACCELERATORS)}",
    )
    parser.add_argument(
        "--price", metavar="P", type=float, help="of this machine or of one card, for an hour"
    )
    parser.add_argument(
        "--fit",
        action="store_true",
        help="also train 1/32, 1/16 and 1/8 of it, and say which loss to expect at the end",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from xunlian.machine.features import process_start

    plans = plan(
        arguments.recipe,
        arguments.overrides,
        gpu=arguments.gpu,
        price=arguments.price,
        fit=arguments.fit,
        started=process_start(),
    )
    if arguments.json:
        print_json({"plans": plans})
    else:
        sys.stdout.write("\n".join(_text(each) for each in plans))
    return 0


def _text(plan: dict[str, Any]) -> str:
    from xunlian.studies.plan import count_text
    from xunlian.training.fitting import bytes_text

    corpus, memory = plan["corpus_tokens"], plan["memory"]
    parts = sorted(memory.items(), key=lambda part: -part[1])
    best = {}
    if plan["optimal_tokens"]:
        best = {"best for": f"{count_text(plan['optimal_tokens'])} tokens (20 a parameter)"}
    rows = {
        "device": f"{plan['devices']} x {plan['device']}, {plan['precision']}, "
        f"{plan['matmul_rate'] / 1e12:,.2f} TFLOP/s",
        "model": f"{count_text(plan['parameters'])} parameters: {plan['family']}, "
        f"{plan['depth']} layers of {plan['width']}, vocabulary {plan['vocab_size']:,}, "
        f"context {plan['context']:,}",
        "corpus": "none named"
        if corpus is None
        else f"{count_text(corpus)} tokens, read {plan['epochs']:.2g} times",
        "budget": f"{plan['budget']}: {count_text(plan['tokens'])} tokens in {plan['steps']:,} "
        f"steps of {plan['batch_tokens']:,}",
        **best,
        "compute": f"{plan['flops']:.2g} floating-point operations",
        "speed": f"{plan['tokens_per_second']:,.0f} tokens/s, {plan['mfu']:.0%} of the matrix rate",
        "time": _time_text(plan["seconds"]),
        "memory": f"{bytes_text(sum(memory.values()))}: "
        + ", ".join(f"{name} {bytes_text(size)}" for name, size in parts),
    }
    if "cost" in plan:
        rows["cost"] = f"{plan['cost']:,.2f}"
    if "forecast" in plan:
        forecast = plan["forecast"]
        rows["loss"] = f"{forecast['loss']:.3f} ± {forecast['error']:.3f} nats a token expected"
    lines = [f"{name:<10}{value}" for name, value in rows.items()]
    return "\n".join([*lines, *plan["advice"]]) + "\n"


def _time_text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
