"""The loss to expect from a long training, from three short ones of the same network.

Each of the three takes twice the tokens of the one before, with a whole schedule of its own. Two
laws go through their losses: a power of the tokens alone, which never ends (log L falls by the same
amount with each doubling), and a power above a floor (arXiv 2001.08361, 2203.15556), of which a
doubling saves a fixed share of what the one before saved. Their mean is the forecast.

The error is half their distance, but at least half of the fall that is foreseen, for short
trainings may lie before the steepest part: a 3M decoder on Chinese Wikipedia had losses of 5.61,
5.22 and 4.86 after 0.25, 0.5 and 1M tokens; both laws say 4.22 for 4M, and it came to 3.95.
"""

from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from xunlian.console import say
from xunlian.errors import InputError, XunlianError
from xunlian.files import read_json, write_json
from xunlian.recipe.settings import Recipe
from xunlian.runs.folder import open_run
from xunlian.studies.folder import claim_folder, train_once

SHARES = (1 / 32, 1 / 16, 1 / 8)
FEWEST_STEPS = 50  # of the shortest of them
TOKENS = "tokens.json"


@dataclass(frozen=True)
class Forecast:
    """Nats a token at the end of the whole training, and how far off that may be."""

    loss: float
    error: float


def extrapolate(losses: tuple[float, float, float], doublings: float) -> Forecast:
    """The loss so many doublings after the last of three that lie one doubling apart."""
    first, second, last = losses
    power = last * (last / first) ** (doublings / 2)
    saved, before = second - last, first - second
    if before <= 0 or saved <= 0:  # they do not fall: noise, or a text that is known by heart
        return Forecast(last, abs(before) + abs(saved))
    share = min(saved / before, 0.999)
    floor = last - saved * share * (1 - share**doublings) / (1 - share)
    loss = (power + floor) / 2
    return Forecast(loss, max(abs(power - floor), last - loss) / 2)


def forecast(recipe: Recipe, steps: int, batch_tokens: int, out: Path) -> dict[str, Any]:
    """Train the three (an eighth of the whole is the longest) and extrapolate.

    Args:
        recipe: with corpus.path.
        steps, batch_tokens: of the whole training.
        out: folder of the three runs; what is finished there is kept.

    Returns:
        `loss` and its `error` in nats a token; `tokens` and `losses` of the three.

    Raises:
        InputError: the whole training is too short to have a thirty-second, or the folder has the
            forecast of another recipe.
        XunlianError: a loss is no number.
        Interrupted: stopped; the same call goes on.
    """
    if SHARES[0] * steps < FEWEST_STEPS:
        raise InputError(
            f"--fit trains 1/32, 1/16 and 1/8 of the budget, and 1/32 of {steps:,} steps are fewer "
            f"than {FEWEST_STEPS}. The whole is short enough to try."
        )
    claim_folder(out, "forecast", recipe, "Leave the recipe as it was, or remove the folder.")
    if not (out / TOKENS).exists():
        # A budget in time gives other steps each time; those of the first call stay.
        counts = [round(share * steps) * batch_tokens for share in SHARES]
        write_json(out / TOKENS, {"tokens": counts})
    tokens = read_json(out / TOKENS)["tokens"]
    losses = []
    for number, count in enumerate(tokens, start=1):
        path = out / f"fit-{number}"
        say(f"\n{path}: {count:,} tokens")
        training = recipe.training.model_copy(update={"budget": f"{count} tokens"})
        train_once(path, recipe.model_copy(update={"training": training}), out / "recipes")
        loss = open_run(path).facts()["best_val_loss"]
        if loss is None:
            raise XunlianError(f"The validation loss of '{path}' was never a number.")
        losses.append(float(loss))
    found = extrapolate((losses[0], losses[1], losses[2]), log2(steps * batch_tokens / tokens[-1]))
    return {
        "tokens": tokens,
        "losses": losses,
        "loss": found.loss,
        "error": found.error,
        "folder": str(out),
    }
