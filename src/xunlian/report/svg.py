"""One drawing as SVG text that fits into a page.

Notable ideas:
- Colours are CSS variables of the page (`var(--ink)` ...), so one picture serves light and dark.
- Text stays text (`svg.fonttype: none`), drawn with the reader's own fonts, Chinese included.
- Nothing global: no interactive backend, no style left behind.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Stand-ins that the drawing library accepts, and the variable each one becomes.
INK, FAINT, GRID, TRAIN, VALID = "#010101", "#020202", "#030303", "#040404", "#050505"
RNN, GRU, LSTM, TRANSFORMER = "#060606", "#070707", "#080808", "#090909"
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--muted)",
    GRID: "var(--line)",
    TRAIN: "var(--train)",
    VALID: "var(--valid)",
    RNN: "var(--rnn)",
    GRU: "var(--gru)",
    LSTM: "var(--lstm)",
    TRANSFORMER: "var(--transformer)",
}
WIDE, SMALL = (9.2, 4.0), (3.7, 2.5)  # inches; a page shows 72 points of them as it likes
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 9.5,
    "axes.edgecolor": GRID,
    "axes.linewidth": 0.9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "ytick.major.pad": 6,
}


def draw_svg(draw: Callable[["Figure"], None], size: tuple[float, float], name: str) -> str:
    """The picture that `draw` makes on a figure of `size` inches; `name` labels it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _for_page(file.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    """Without prologue and metadata, of the page's width, in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # inline in HTML, none is needed
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)  # would rule the whole page
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # nothing refers to these
    title = name.replace("-", " ")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg.strip()
