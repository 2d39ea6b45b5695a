"""Charts that set the families side by side, each always in its own colour, named at its line.

The same drawing serves the page, where colours are variables, and the PNG, which has those of a
light page.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xunlian.report.svg import FAINT, GRID, GRU, INK, LSTM, RNN, TRANSFORMER
from xunlian.report.units import short_number, short_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "transformer": "Transformer"}
COLORS = {"rnn": RNN, "gru": GRU, "lstm": LSTM, "transformer": TRANSFORMER}
LIGHT = {
    INK: "#1f2428",
    FAINT: "#6b7176",
    GRID: "#e8e5de",
    RNN: "#8a8078",
    GRU: "#2a8c7c",
    LSTM: "#4671a8",
    TRANSFORMER: "#c2412c",
}
"""What the stand-ins of svg.py are where no page says it."""

Result = Mapping[str, Any]
Paint = Callable[[str], str]
Draw = Callable[["Axes", Result, Paint], None]
Lines = Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
"""Family -> (x, y) of each of its lines."""

LABEL_HEIGHT = 12.5  # points between two names
LEADER: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.6, "linestyle": (0, (1, 2))}


def draw_time(axes: "Axes", result: Result, paint: Paint) -> None:
    """Validation loss by time; the training loss, smoothed, stands faintly behind."""
    lines = _loss_lines(axes, result, "seconds", paint)
    last = max((float(x.max()) for several in lines.values() for x, _ in several), default=1.0)
    step = next((s for s in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if last / s <= 6), 7200)
    ticks = [float(step * i) for i in range(int(last * 1.01 // step) + 1)]
    axes.set_xticks(ticks, [short_time(tick) for tick in ticks])
    axes.set_xlim(0, last * 1.02)
    axes.set_xlabel("time since the start of the program")
    _name_lines(axes, lines, paint)


def draw_tokens(axes: "Axes", result: Result, paint: Paint) -> None:
    """Validation loss by tokens seen, on a logarithmic axis."""
    lines = _loss_lines(axes, result, "tokens", paint)
    ends = [float(x.max()) for several in lines.values() for x, _ in several]
    begins = [float(x.min()) for several in lines.values() for x, _ in several]
    if max(ends, default=0.0) > 0:  # else there was no time for a step
        _logarithmic(axes, max(min(begins), max(ends) / 100), max(ends) * 1.04)
    axes.set_xlabel("tokens seen")
    _name_lines(axes, lines, paint)


def draw_positions(axes: "Axes", result: Result, paint: Paint) -> None:
    """Loss by the number of tokens read before."""
    pairs = result["task"] != "language-model"
    what = "place in the target" if pairs else "place in the window: tokens read so far"
    _draw_buckets(axes, result, "by_position", what, paint)


def draw_source_lengths(axes: "Axes", result: Result, paint: Paint) -> None:
    """Loss by the length of the source."""
    _draw_buckets(axes, result, "by_source_length", "length of the source, tokens", paint)


def draw_probe(axes: "Axes", result: Result, paint: Paint) -> None:
    """The share of symbols that survive, by distance."""
    lines: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for one in result["probe"]:
        distances = sorted(int(distance) for distance in one["accuracy"])
        shares = [one["accuracy"][str(distance)] for distance in distances]
        lines[one["family"]] = [(np.array(distances, float), np.array(shares))]
    limit = result["probe"][0]["survives"]
    axes.axhline(limit, color=paint(FAINT), linewidth=1, dashes=(1, 2.5), linestyle="--")
    axes.annotate(
        f"{limit:.0%} survive",
        (0, limit),
        xycoords=axes.get_yaxis_transform(),
        xytext=(5, -11),
        textcoords="offset points",
        color=paint(FAINT),
        fontsize=8.5,
    )
    _plot(axes, lines, "probe", paint, marks=True)
    axes.set_ylim(-0.03, 1.06)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axes.set_ylabel("symbols repeated rightly")
    axes.set_xlabel("tokens between")
    if lines:
        x = next(iter(lines.values()))[0][0]
        _powers(axes, x)
    _name_lines(axes, lines, paint, values=False)


def panels(result: Result) -> list[tuple[str, str, Draw]]:
    """(name, title, drawing) of every chart that there is something to draw for."""
    runs = result["runs"]
    found: list[tuple[str, str, Draw]] = []
    if any(run["curve"] for run in runs):
        found.append(("loss-by-time", "Loss against time", draw_time))
        found.append(("loss-by-tokens", "Loss against tokens", draw_tokens))
    if any(run["by_position"] for run in runs):
        pairs = result["task"] != "language-model"
        title = "Loss by place in the target" if pairs else "Loss by place in the context"
        found.append(("loss-by-position", title, draw_positions))
    if any(run["by_source_length"] for run in runs):
        found.append(("loss-by-source", "Loss by length of the source", draw_source_lengths))
    if result["probe"]:
        found.append(("probe", "Copying over a distance", draw_probe))
    return found


def by_family(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The runs of each family, in the order given."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["family"]].append(run)
    return dict(found)


def mean_buckets(runs: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """(last place, mean loss over the runs) of each bucket that all of them have."""
    places: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        for bucket in run[key]:
            places[bucket["last"]].append(bucket["loss"])
    shared = sorted(place for place, losses in places.items() if len(losses) == len(runs))
    return np.array(shared, float), np.array([np.mean(places[place]) for place in shared])


def _loss_lines(axes: "Axes", result: Result, x: str, paint: Paint) -> Lines:
    lines: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    settled: list[float] = []
    for run in result["runs"]:
        faint = _columns(run["training_curve"], x, "loss")
        if len(faint[0]) > 1:
            axes.plot(*faint, color=paint(COLORS[run["family"]]), linewidth=1, alpha=0.3)
            settled += faint[1][len(faint[1]) // 12 :].tolist()
        curve = _columns(run["curve"], x, "val_loss")
        if len(curve[0]):
            lines[run["family"]].append(curve)
            settled += curve[1][len(curve[1]) // 12 :].tolist()
    _plot(axes, lines, f"val-loss-{x}", paint, marks=True)
    if settled:
        low, high = min(settled), max(settled)
        room = 0.07 * (high - low) or 0.2
        axes.set_ylim(low - room, high + room)
    axes.set_ylabel("loss, nats per token")
    return lines


def _draw_buckets(axes: "Axes", result: Result, key: str, what: str, paint: Paint) -> None:
    lines = {
        family: [mean_buckets(runs, key)]
        for family, runs in by_family(run for run in result["runs"] if run[key]).items()
    }
    _plot(axes, lines, key.replace("_", "-"), paint, marks=True)
    if lines:
        _powers(axes, np.unique(np.concatenate([x for ((x, _),) in lines.values()])))
    axes.set_xlabel(what)
    axes.set_ylabel("loss, nats per token")
    _name_lines(axes, lines, paint)


def _plot(axes: "Axes", lines: Lines, name: str, paint: Paint, marks: bool) -> None:
    for family, several in lines.items():
        for number, (x, y) in enumerate(several):
            axes.plot(
                x,
                y,
                gid=f"{name}-{family}" + (f"-{number}" if number else ""),
                color=paint(COLORS[family]),
                linewidth=2.1 if family == "transformer" else 1.8,
                solid_capstyle="round",
                solid_joinstyle="round",
                marker="o" if marks and len(x) <= 40 else None,
                markersize=3.2,
                markeredgewidth=0,
                zorder=4 if family == "transformer" else 3,
            )


def _name_lines(axes: "Axes", lines: Lines, paint: Paint, values: bool = True) -> None:
    """Each family's name (and last value) at the right, level with the end of its line."""
    ends = []
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    for family, several in lines.items():
        several = [(x, y) for x, y in several if len(x)]
        if several:
            y = float(np.mean([line[1][-1] for line in several]))
            x = max(float(line[0][-1]) for line in several)
            text = NAMES[family] + (f"  {y:.2f}" if values else "")
            ends.append((min(max((y - low) / (high - low), 0.0), 1.0), text, family))
            axes.plot([x, right], [y, y], color=paint(COLORS[family]), **LEADER)
    axes.set_xlim(right=right)
    figure = axes.get_figure()
    rows = axes.get_subplotspec().get_gridspec().nrows  # type: ignore[union-attr]
    inches = figure.get_size_inches()[1] if figure is not None else 4.0  # type: ignore[union-attr]
    gap = LABEL_HEIGHT / (0.74 * 72 * inches / rows)
    ends.sort()
    for (_, text, family), place in zip(ends, _apart([e[0] for e in ends], gap), strict=True):
        axes.annotate(
            text,
            (1, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=paint(COLORS[family]),
            weight="bold",
            fontsize=9.5,
            annotation_clip=False,
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as it takes to be `gap` apart, none below 0."""
    groups: list[list[float]] = []  # (sum of wishes for the lowest, members)
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1:
            (wish, members), (next_wish, next_members) = groups[-2], groups[-1]
            start, next_start = wish / members, next_wish / next_members
            if start + members * gap <= next_start:
                break
            # As one group: each member's wish, less its place in the group.
            groups[-2:] = [
                [wish + next_wish - next_members * members * gap, members + next_members]
            ]
    moved = [wish / members + i * gap for wish, members in groups for i in range(int(members))]
    return [max(place, i * gap) for i, place in enumerate(moved)]


def _powers(axes: "Axes", x: np.ndarray) -> None:
    """A logarithmic axis with a tick at each of these places, or at every other."""
    axes.set_xscale("log", base=2)
    shown = x if len(x) <= 9 else x[::-2][::-1]
    axes.set_xticks(shown, [f"{value:g}" for value in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlim(float(x.min()) / 1.15, float(x.max()) * 1.08)


def _logarithmic(axes: "Axes", low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < 60 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _columns(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    from xunlian.report.charts import columns

    return columns(rows, x, y)
