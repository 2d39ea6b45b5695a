"""Loss against seconds, all sides in one picture."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.ratios import best, first_to_reach, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "xunlian": "#c2412c",
    "xunlian-same": "#e08a5b",
    "nanogpt": "#4671a8",
    "nanogpt-tuned": "#7fa6d6",
    "trainer": "#2a8c7c",
    "trainer-tuned": "#7bbcae",
    "litgpt": "#8a8078",
    "before": "#b08bb8",
}
INK, FAINT, GRID = "#1f2428", "#6b7176", "#e8e5de"
PANEL = (7.0, 4.9)  # inches


def draw(
    panels: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    goals: Sequence[Any],
    names: Mapping[str, str],
    path: Path,
) -> None:
    """A panel for each task, `(title, rows)`, side by side on white."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from xunlian.report.svg import STYLE

    style = {
        **STYLE,
        "figure.facecolor": "#ffffff",
        "axes.facecolor": "#ffffff",
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "axes.edgecolor": GRID,
        "grid.color": GRID,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": FAINT,
        "ytick.labelcolor": FAINT,
    }
    with matplotlib.rc_context(style):
        size = (PANEL[0] * len(panels), PANEL[1])
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15, wspace=0.04)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, rows) in zip(grid, panels, strict=True):
            _panel(axes, rows, goals, names)
            axes.set_title(title, loc="left", fontsize=12, weight="bold", pad=12)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": "Xunlian"})
    path.write_bytes(file.getvalue())


def _panel(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], goals: Sequence[Any], names: Mapping[str, str]
) -> None:
    from matplotlib.ticker import NullLocator

    from xunlian.report.units import short_time

    lines = curves(rows)
    ends = [loss[-1] for _, loss in lines.values()]
    lowest = min(min(loss) for _, loss in lines.values())
    # The first fall from ln(vocabulary) would flatten the rest.
    highest = max(max(ends), min(max(loss) for _, loss in lines.values()))
    room = highest - lowest or 1.0
    top = highest + 0.25 * room
    axes.set_ylim(lowest - 0.08 * room, top)
    axes.set_xscale("log")
    points_of = [point for line in lines.values() for point in zip(*line, strict=True)]
    first = min(seconds for seconds, loss in points_of if loss <= top)
    last = max(seconds[-1] for seconds, _ in lines.values())
    axes.set_xlim(first / 1.15, last * 1.15)
    nice = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 14400, 28800)
    ticks = [tick for tick in nice if first / 1.15 <= tick <= last * 1.15]
    axes.set_xticks(ticks, [short_time(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("time since the start of the program, compiling included")
    axes.set_ylabel("validation loss, nats per token")
    for side, (seconds, losses) in lines.items():
        own = side.startswith("xunlian")
        axes.plot(
            seconds,
            losses,
            color=COLORS[side],
            linewidth=2.6 if own else 1.7,
            marker="o",
            markersize=5.0 if own else 3.6,
            markevery=None if own else [len(seconds) - 1],
            solid_capstyle="round",
            zorder=3 if own else 2,
            label=names[side],
        )
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.14),  # below: in the panel it would hide a line sooner or later
        ncols=2,
        fontsize=9,
        labelcolor="linecolor",
        frameon=False,
    )
    _mark_ratios(axes, rows, goals)


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Side -> seconds and losses. One of ours has a point for each budget, in means of its seeds;
    of a peer's learning rates the best is drawn."""
    found = {}
    for side in COLORS:
        several = [dict(row) for row in rows if row["side"] == side]
        if side.startswith("xunlian"):
            line = [(point.seconds, point.loss) for point in points(several)]
        else:
            row = best(several)
            line = [(point["seconds"], point["loss"]) for point in row["curve"]] if row else []
        if line:
            seconds, losses = zip(*line, strict=True)
            found[side] = (list(seconds), list(losses))
    return found


def _mark_ratios(axes: "Axes", rows: Sequence[Mapping[str, Any]], goals: Sequence[Any]) -> None:
    """A dotted line from where we reach a peer's loss to where it does, and the times' ratio."""
    found = []
    for goal in goals:
        peer = best(dict(row) for row in rows if row["side"] == goal.peer)
        ours = points(dict(row) for row in rows if row["side"] == goal.ours)
        if peer and (reached := first_to_reach(ours, peer["loss"])):
            found.append((peer["loss"], reached.seconds, peer["seconds"], COLORS[goal.ours]))
    low, high = axes.get_ylim()
    above: list[tuple[float, float]] = []
    for loss, begin, end, color in sorted(found, reverse=True):
        axes.plot([begin, end], [loss] * 2, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)))
        # Of two lines close to each other, the lower one has its ratio below.
        near = any(y - loss < 0.07 * (high - low) and 0.8 < x / begin < 1.25 for y, x in above)
        if not near:
            above.append((loss, begin))
        axes.annotate(
            f"{end / begin:.1f}x",
            (begin, loss),
            xytext=(7, -4 if near else 3),
            textcoords="offset points",
            va="top" if near else "bottom",
            fontsize=11,
            color=color,
            weight="bold",
        )
