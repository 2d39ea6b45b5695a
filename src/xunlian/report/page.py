"""The report: one HTML file with all that a training did, from plain data.

It loads nothing from anywhere (a Content-Security-Policy says so to the browser), follows the
reader's light or dark mode, prints, and fits a telephone. All text is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from xunlian.report import charts
from xunlian.report.units import format_bytes, short_number, short_time

__all__ = ["ReportData", "format_bytes", "render_report"]

TEMPLATE, STYLE = "report.html.j2", "page.css"
MOST_VALIDATIONS = 200


@dataclass(frozen=True)
class ReportData:
    """All that a report shows; what is empty is left out.

    Attributes:
        title: the name of the run.
        subtitle: one line below it.
        headline: the few figures to see first, label -> value, shown large.
        facts: the others, label -> value, in this order.
        metrics: the lines of metrics.jsonl: training lines with `loss`, validation lines with
            `val_loss`, both with step, tokens and seconds.
        samples: (prompt, continuation).
        translations: (source, reference, what the model makes of the source).
        corpus: what was learned from, label -> value.
        notes: sentences worth knowing.
        memory: (part, predicted bytes).
        memory_measured: the peak as measured, in bytes.
        recipe: the resolved recipe as TOML.
        next_commands: (command, what it does).
        made_with: the line at the foot.
    """

    title: str
    subtitle: str = ""
    headline: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[tuple[str, str]] = ()
    translations: Sequence[tuple[str, str, str]] = ()
    corpus: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    memory: Sequence[tuple[str, int]] = ()
    memory_measured: int | None = None
    recipe: str = ""
    next_commands: Sequence[tuple[str, str]] = ()
    made_with: str = "Xunlian 迅练"


def render_report(data: ReportData) -> str:
    """The whole page as text, to be written as UTF-8."""
    predicted = sum(size for _, size in data.memory)
    largest = max([predicted, data.memory_measured or 0, 1])
    return render(
        TEMPLATE,
        data=data,
        loss_chart=inline(charts.loss_chart(data.metrics)),
        small_charts=[
            (title, inline(svg))
            for title, svg in (
                ("Throughput", charts.throughput_chart(data.metrics)),
                ("Learning rate", charts.learning_rate_chart(data.metrics)),
                ("Gradient norm", charts.gradient_chart(data.metrics)),
            )
            if svg
        ],
        validations=_validations(data.metrics),
        predicted=predicted,
        share=lambda size: f"{100 * size / largest:.1f}%",
    )


def render(template: str, **values: Any) -> str:
    """A template of this folder with these values, as text of a whole page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(bytes=format_bytes, time=short_time, count=short_number)
    folder = resources.files("xunlian.report")
    style = inline((folder / STYLE).read_text("utf-8"))
    source = (folder / template).read_text("utf-8")
    return environment.from_string(source).render(style=style, **values)


def inline(text: str) -> Any:
    """Text to stand in a page as it is: our own drawing or style."""
    from markupsafe import Markup

    return Markup(text)  # in a drawing, the only text is labels of ours and numbers


def _validations(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Validation lines for the table, thinned to MOST_VALIDATIONS, the best one always there."""
    rows = [dict(row) for row in metrics if isinstance(row.get("val_loss"), (int, float))]
    if not rows:
        return []
    best = min(range(len(rows)), key=lambda i: rows[i]["val_loss"])
    every = -(-len(rows) // MOST_VALIDATIONS)
    keep = [i for i in range(len(rows)) if i % every == 0 or i in (best, len(rows) - 1)]
    return [
        {
            "step": rows[i].get("step", 0),
            "tokens": rows[i].get("tokens", 0),
            "seconds": rows[i].get("seconds", 0),
            "val_loss": rows[i]["val_loss"],
            "reward_accuracy": rows[i].get("val_reward_accuracy"),
            "reward_margin": rows[i].get("val_reward_margin"),
            "best": i == best,
        }
        for i in keep
    ]
