"""A comparison as lines for a terminal, and what its numbers say in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xunlian.report.families import NAMES, by_family, mean_buckets
from xunlian.report.units import short_number, short_time

SCORES = {
    "loss": ("loss", 3),
    "fresh_loss": ("fresh loss", 3),
    "perplexity": ("perplexity", 2),
    "bits_per_byte": ("bits/byte", 3),
    "bleu": ("BLEU", 2),
    "chrf": ("chrF", 2),
    "rouge1": ("ROUGE-1", 4),
    "rouge2": ("ROUGE-2", 4),
    "rougeL": ("ROUGE-L", 4),
}
"""Name -> its heading, and decimals."""

Rows = list[dict[str, str]]


def table(result: Mapping[str, Any]) -> str:
    """The result of `xunlian.compare` as lines of text."""
    rows = figures(result)
    heads = list(rows[0]) if rows else []
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    lines = [f"{result['recipe']}: {result['budget']} each, on {result['corpus']}", ""]
    for texts in [heads, *(list(row.values()) for row in rows)]:
        cells = [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
        lines.append("  ".join([texts[0].ljust(widths[0]), *cells[1:]]))
    pages = [f"{result['folder']}/compare.{kind}" for kind in ("html", "png", "json")]
    return "\n".join([*lines, "", *findings(result), "", *pages])


def figures(result: Mapping[str, Any]) -> Rows:
    """One row for each family, heading -> text; over several seeds the mean and half the range."""
    scored = [name for name in SCORES if any(name in run["scores"] for run in result["runs"])]
    reach = {one["family"]: one["reach"] for one in result["probe"]}
    rows = []
    for family, runs in by_family(result["runs"]).items():
        row = {
            "family": NAMES[family],
            "parameters": f"{runs[0]['parameters']:,}",
            "depth x width": f"{runs[0]['depth']} x {runs[0]['width']}",
            "steps": f"{np.mean([run['steps'] for run in runs]):,.0f}",
            "tokens": short_number(float(np.mean([run["tokens"] for run in runs]))),
            "tokens/s": _mean(runs, "tokens_per_second"),
            "time": short_time(float(np.mean([run["seconds"] for run in runs]))),
        }
        for name in scored:
            head, decimals = SCORES[name]
            row[head] = _spread(
                [run["scores"][name] for run in runs if name in run["scores"]], decimals
            )
        if reach:
            row["copies over"] = str(reach.get(family, "")) or "-"
        rows.append(row)
    return rows


def findings(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say, a sentence each; only what follows from them."""
    return [*_order(result), *_speed(result), *_context(result), *_probe(result)]


def _order(result: Mapping[str, Any]) -> Iterator[str]:
    losses = _losses(result)
    if len(losses) < 2:
        return
    best, *others = sorted(losses, key=lambda family: losses[family])
    gaps = ", ".join(f"{NAMES[f]} {losses[f] - losses[best]:+.3f}" for f in others)
    yield (
        f"After {result['budget']} each, the {NAMES[best]} has the lowest validation loss, "
        f"{losses[best]:.3f} nats per token ({gaps})."
    )
    if result["seeds"] > 1:
        widest = max(np.ptp(values) for values in _all_losses(result).values())
        yield (
            f"The {result['seeds']} seeds of one family lie at most {widest:.3f} apart; smaller "
            "differences mean nothing."
        )


def _speed(result: Mapping[str, Any]) -> Iterator[str]:
    speeds = {
        family: float(np.mean(values))
        for family, runs in by_family(result["runs"]).items()
        if (values := [r["tokens_per_second"] for r in runs if r["tokens_per_second"]])
    }
    if len(speeds) > 1:
        fast, slow = max(speeds, key=lambda f: speeds[f]), min(speeds, key=lambda f: speeds[f])
        yield (
            f"The {NAMES[fast]} is the fastest with {speeds[fast]:,.0f} tokens/s, "
            f"{speeds[fast] / speeds[slow]:.1f} times as fast as the {NAMES[slow]}."
        )


def _context(result: Mapping[str, Any]) -> Iterator[str]:
    """How much each gains from the second half of its places on: what far context is worth."""
    gains = {}
    middle = end = 0
    for family, runs in by_family(result["runs"]).items():
        places, losses = mean_buckets(runs, "by_position")
        if len(places) >= 4 and result["task"] == "language-model":
            half = len(places) // 2
            middle, end = int(places[half]), int(places[-1])
            gains[family] = float(losses[half] - losses[-1])
    if gains:
        told = ", ".join(f"{NAMES[family]} {gain:.3f}" for family, gain in gains.items())
        yield f"Between {middle} and {end} tokens of context the loss falls by: {told}."


def _probe(result: Mapping[str, Any]) -> Iterator[str]:
    if result["probe"]:
        least = result["probe"][0]["survives"]
        told = ", ".join(
            f"{NAMES[one['family']]} {one['reach'] or 'none'}" for one in result["probe"]
        )
        yield f"Largest distance over which {least:.0%} of the symbols are copied: {told}."


def _all_losses(result: Mapping[str, Any]) -> dict[str, list[float]]:
    found = {
        family: [run["scores"]["loss"] for run in runs if "loss" in run["scores"]]
        for family, runs in by_family(result["runs"]).items()
    }
    return {family: losses for family, losses in found.items() if losses}


def _losses(result: Mapping[str, Any]) -> dict[str, float]:
    return {family: float(np.mean(values)) for family, values in _all_losses(result).items()}


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    values = [run[key] for run in runs if run[key] is not None]
    return f"{np.mean(values):,.0f}" if values else "-"


def _spread(values: Sequence[float], decimals: int) -> str:
    if not values:
        return "-"
    text = f"{np.mean(values):,.{decimals}f}"
    return text + (f" ±{np.ptp(values) / 2:.{decimals}f}" if len(values) > 1 else "")
