"""The page and the picture of a comparison, from the plain data of compare.json."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.files import atomic_write
from xunlian.report.comparison_table import figures, findings
from xunlian.report.families import LIGHT, NAMES, panels
from xunlian.report.page import inline, render
from xunlian.report.svg import STYLE, draw_svg
from xunlian.report.units import short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "comparison.html.j2"
PAGE_SIZE = (5.6, 3.6)  # inches
PANEL_WIDTH, PANEL_HEIGHT, DOTS = 6.1, 4.0, 160
HOW_TO_READ = {
    "loss-by-time": "What a fixed time buys: every line ends at the same budget, the start of the "
    "program and compiling included. Faint: the training loss.",
    "loss-by-tokens": "What a token teaches: at one place on this axis all have read equally "
    "much. A line that ends further right belongs to a family that reads faster.",
    "loss-by-position": "What more context brings. A line that goes on falling to the right "
    "belongs to a family that still uses what it read long ago; where it turns flat, it has "
    "forgotten. All windows begin with nothing before them.",
    "loss-by-source": "Whether long sources are harder: without attention a whole sentence must "
    "fit into one state; with it, a line stays level.",
    "probe": "Small networks of equal size must repeat four symbols after so many tokens without "
    "meaning. A state of fixed size loses them sooner or later; attention looks them up.",
}
PAIR_POSITIONS = (
    "How well the next token is predicted the further a target goes. The first tokens hang on the "
    "source alone; later ones also on what was already said."
)


def render_comparison(result: Mapping[str, Any], recipe: str) -> str:
    """The whole page as text, to be written as UTF-8.

    Args:
        result: as `xunlian.compare` returns it.
        recipe: what was compared, as TOML.
    """
    reading = dict(HOW_TO_READ)
    if result["task"] != "language-model":
        reading["loss-by-position"] = PAIR_POSITIONS
    charts = []
    for name, title, draw in panels(result):

        def drawn(figure: "Figure", draw: Any = draw) -> None:
            draw(figure.subplots(), result, lambda color: color)

        charts.append((title, inline(draw_svg(drawn, PAGE_SIZE, name)), reading[name]))
    return render(
        TEMPLATE,
        result=result,
        title=_title(result),
        rows=figures(result),
        findings=findings(result),
        charts=charts,
        runs=[(run["run"], NAMES[run["family"]], run["seed"]) for run in result["runs"]],
        recipe=recipe,
    )


def draw_png(result: Mapping[str, Any], path: Path) -> None:
    """All charts of the page in one picture, on white."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = panels(result)
    if not found:
        return
    columns = min(len(found), 2 if len(found) in (1, 2, 4) else 3)
    rows = -(-len(found) // columns)
    style = {k: LIGHT.get(v, v) if isinstance(v, str) else v for k, v in STYLE.items()}
    style |= {"figure.facecolor": "#ffffff", "axes.facecolor": "#ffffff"}
    with matplotlib.rc_context(style):
        size = (PANEL_WIDTH * columns, PANEL_HEIGHT * rows + 0.9)
        figure = Figure(figsize=size, dpi=DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_title(result), x=0.012, ha="left", fontsize=17, weight="bold")
        figure.get_layout_engine().set(w_pad=0.22, h_pad=0.2, wspace=0.03, hspace=0.05)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, (_, title, draw) in zip(grid, found, strict=False):
            draw(axes, result, lambda color: LIGHT.get(color, color))
            axes.set_title(title, loc="left", fontsize=12, weight="bold", pad=12)
        for axes in grid[len(found) :]:
            axes.set_axis_off()
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": "Xunlian"})
    with atomic_write(path) as out:
        out.write(file.getvalue())


def _title(result: Mapping[str, Any]) -> str:
    parameters = [run["parameters"] for run in result["runs"]]
    size = short_number(sum(parameters) / len(parameters))
    return f"{result['recipe']}: {size} parameters and {result['budget']} each"
