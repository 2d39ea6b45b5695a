"""From rows to ratios: the budget that reached a loss, and how much faster that was."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """Our side `ours` is to reach the loss of `peer` so many times as fast, or within `seconds`."""

    peer: str
    ours: str
    times: float | None = None
    times_speed: float | None = None
    loss: float | None = None  # a published one, when the peer is not measured here
    seconds: float | None = None


@dataclass(frozen=True)
class Point:
    """All seeds of one budget together, in means."""

    budget: float
    seconds: float
    loss: float
    memory: int | None
    speed: float
    seeds: tuple[int, ...]


def points(rows: Iterable[Row]) -> list[Point]:
    """Rows of one of our sides, by budget, the smallest first."""
    grouped: dict[float, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        grouped[row["settings"]["budget_seconds"]][row["seed"]] = row
    return [
        Point(
            budget,
            statistics.fmean(row["seconds"] for row in seeds.values()),
            statistics.fmean(row["loss"] for row in seeds.values()),
            max(above_base(row) or 0 for row in seeds.values()) or None,
            statistics.fmean(row["tokens_per_second"] for row in seeds.values()),
            tuple(sorted(seeds)),
        )
        for budget, seeds in sorted(grouped.items())
    ]


def first_to_reach(found: Sequence[Point], loss: float) -> Point | None:
    """The smallest budget whose mean loss is at or below `loss`."""
    return next((point for point in found if point.loss <= loss), None)


def best(rows: Iterable[Row]) -> Row | None:
    """Of several learning rates the one with the lowest last loss."""
    return min(rows, key=lambda row: row["loss"], default=None)


def above_base(row: Row) -> int | None:
    """Peak memory of the process above what its imports take, in bytes."""
    if row.get("memory_peak") is None:
        return None
    return row["memory_peak"] - row["memory_base"]


def table(goals: Iterable[Goal], rows: Sequence[Row], names: dict[str, str]) -> str:
    """One line of Markdown for each goal whose sides were measured."""
    head = ["against", "its loss", "its time", "Xunlian", "time", "faster", "wanted", "memory"]
    head += ["tokens/s"]
    lines = [head, ["---"] * len(head)]
    for goal in goals:
        peer = best(row for row in rows if row["side"] == goal.peer)
        loss = goal.loss if peer is None else peer["loss"]
        ours = points(row for row in rows if row["side"] == goal.ours)
        if loss is None or not ours:
            continue
        lines.append([names[goal.peer], f"{loss:.4f}", *_cells(goal, peer, ours, loss, names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(
    goal: Goal, peer: Row | None, ours: Sequence[Point], loss: float, names: dict[str, str]
) -> list[str]:
    its_time = f"{peer['seconds']:.1f} s" if peer else "another machine"
    wanted = f"{goal.times:g}x" if goal.times else f"{goal.seconds:g} s"
    reached = first_to_reach(ours, loss)
    if reached is None:
        last = ours[-1]
        missed = f"not in {last.seconds:.0f} s ({last.loss:.4f})"
        return [its_time, names[goal.ours], missed, "", wanted, "", ""]
    seeds = "seed" if len(reached.seeds) == 1 else "mean of seeds"
    time = f"{reached.seconds:.1f} s, {seeds} {', '.join(map(str, reached.seeds))}"
    if peer is None:
        return [its_time, names[goal.ours], time, "", wanted, megabytes(reached.memory), ""]
    faster = f"{peer['seconds'] / reached.seconds:.2f}x"
    if reached is ours[0]:
        faster += " or more: no smaller budget was tried"
    memory = f"{megabytes(reached.memory)}, its {megabytes(above_base(peer))}"
    its_speed = peer["tokens_per_second"]
    rates = f"{reached.speed:,.0f}, its {its_speed:,.0f} ({reached.speed / its_speed:.2f}x"
    rates += f", wanted {goal.times_speed:g}x)" if goal.times_speed else ")"
    return [its_time, names[goal.ours], time, faster, wanted, memory, rates]


def megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:,.0f} MB"
