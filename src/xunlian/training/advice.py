"""What a finished training tells its user to do next."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

from xunlian.recipe.budget import parse_budget
from xunlian.recipe.settings import CHAT_TASKS, Recipe
from xunlian.runs.folder import Run

LATE = 0.8  # of a training; a best validation after that is luck, one before it is a sign


def too_long(facts: Mapping[str, Any]) -> str | None:
    """One line for a training that went on long after its best validation; None for others.

    Args:
        facts: those of the run ('run.json').
    """
    best, last = facts.get("best_step"), facts.get("step")
    if not best or not last or best > LATE * last:
        return None
    return (
        f"The validation loss was lowest at step {best:,} of {last:,}, whose weights are kept: "
        "afterwards it rose, as when a text is learned by heart. A shorter training, whose rates "
        f'fall in time (training.budget="{best} steps"), or more text gives a better model.'
    )


def next_commands(run: Run) -> list[tuple[str, str]]:
    """(command, what it does), for a reader who wonders what to type now."""
    longer = (
        f"xunlian train {run.path} --resume training.budget={_longer(run.recipe)}",
        "train it longer",
    )
    merge = (f"xunlian merge {run.path} --out merged", "a whole model of adapter and base")
    more = [*([] if too_long(run.facts()) else [longer]), *([merge] if run.recipe.adapter else [])]
    if run.recipe.task == "translation":
        return [
            (f"xunlian translate {run.path}", "type a line, or: < source.txt > target.txt"),
            (f"xunlian evaluate {run.path} --metrics bleu", "score it on the validation pairs"),
            *more,
        ]
    if run.recipe.task == "summarization":
        return [
            (f"xunlian summarize {run.path}", "type a line, or: < texts.txt > summaries.txt"),
            (f"xunlian evaluate {run.path} --metrics rouge", "score it on the validation pairs"),
            *more,
        ]
    if run.recipe.task in CHAT_TASKS:
        return [
            (f"xunlian chat {run.path}", "talk with it"),
            (f"xunlian evaluate {run.path}", "score it on the held-out answers"),
            *more,
        ]
    prompt = quote((run.recipe.prompts or ("",))[0].strip().replace("\n", " "))
    return [
        (f"xunlian generate {run.path} --prompt {prompt}", "let it write"),
        (f"xunlian evaluate {run.path}", "score it, document by document"),
        *more,
        ("xunlian prepare mytext.txt --out corpora/mine", "a model of your own text begins here"),
    ]


def _longer(recipe: Recipe) -> str:
    budget = parse_budget(recipe.training.budget or "1h")
    amount = budget.amount * 4
    return f"{amount:.0f}s" if budget.unit == "seconds" else f'"{amount:g} {budget.unit}"'
