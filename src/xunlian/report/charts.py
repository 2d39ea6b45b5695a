"""Charts of a training as SVG text, to stand inside a page.

Every line has an id of its own, and the same data gives the same bytes. A chart of no data
is ''. Values that are missing or not finite are left out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xunlian.report.svg import SMALL, TRAIN, VALID, WIDE, draw_svg
from xunlian.report.units import short_number, short_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def loss_chart(rows: Rows) -> str:
    """Training loss (each logged step faint, smoothed strong) and validation loss by tokens.

    The upper axis tells the time. The steep first steps may run off the top.
    """
    tokens, losses = columns(rows, "tokens", "loss")
    val_tokens, val_losses = columns(rows, "tokens", "val_loss")
    if not len(tokens) and not len(val_tokens):
        return ""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        smooth = smoothed(losses)
        _line(axes, tokens, losses, "train-loss-raw", TRAIN, width=0.9, opacity=0.4)
        _line(axes, tokens, smooth, "train-loss", TRAIN)
        _line(axes, val_tokens, val_losses, "val-loss", VALID, marks=True)
        if len(val_losses):
            _mark_lowest(axes, val_tokens, val_losses)
        axes.set_ylim(*loss_limits(losses, val_losses))
        axes.set_xlabel("tokens")
        of_pairs = any("val_reward_margin" in row for row in rows)
        axes.set_ylabel("loss" if of_pairs else "loss, nats per token")
        axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
        _start_at_zero(axes, tokens, val_tokens)
        _time_above(axes, rows)

    return draw_svg(draw, WIDE, "loss")


def throughput_chart(rows: Rows) -> str:
    """Tokens a second by time; the right axis reads the same line as MFU."""
    seconds, speeds = columns(rows, "seconds", "tokens_per_second")
    if not len(seconds):
        return ""
    rates, mfus = columns(rows, "tokens_per_second", "mfu")

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        _line(axes, seconds, speeds, "throughput", TRAIN)
        axes.set_ylim(0, 1.15 * float(speeds.max()) or 1)
        axes.set_xlabel("time")
        axes.set_ylabel("tokens/s")
        axes.yaxis.set_major_formatter(lambda value, _: short_number(value))
        _time_ticks(axes, float(seconds.max()))
        _start_at_zero(axes, seconds)
        if len(rates) and (rates > 0).all() and mfus.max() > 0:
            # Work per token is constant, so MFU is the speed times one factor.
            factor = float(np.median(mfus / rates))
            right = axes.secondary_yaxis(
                "right",
                functions=(lambda y: np.asarray(y) * factor, lambda y: np.asarray(y) / factor),
            )
            right.set_ylabel("MFU")
            right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            right.spines["right"].set_visible(False)

    return draw_svg(draw, SMALL, "throughput")


def learning_rate_chart(rows: Rows) -> str:
    """Learning rate by tokens: warm-up, plateau, decay."""
    return _small_chart(rows, "learning_rate", "learning-rate")


def gradient_chart(rows: Rows) -> str:
    """Norm of the gradient before clipping, by tokens, on a logarithmic axis."""
    return _small_chart(rows, "grad_norm", "grad-norm", logarithmic=True)


def columns(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of two keys in the rows that have both, as finite numbers."""
    pairs = [(row[x], row[y]) for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))]
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smoothed(values: np.ndarray) -> np.ndarray:
    """A centred running mean over about a twentieth of the points; it does not lag behind.

    At the start, where a loss falls steeply, the window shrinks from both sides; at the end, where
    it is flat, only what lies beyond is missing.
    """
    count = len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(count)
    reach = np.minimum(index, max(1, count // 40))
    first, last = index - reach, np.minimum(index + reach, count - 1)
    return (sums[last + 1] - sums[first]) / (last + 1 - first)


def loss_limits(losses: np.ndarray, val_losses: np.ndarray) -> tuple[float, float]:
    """Limits of the loss axis: all of it but the first fall, which would flatten the rest."""
    settled = smoothed(losses)[len(losses) // 20 :], losses[len(losses) // 10 :]
    seen = np.concatenate([*settled, val_losses[len(val_losses) // 10 :]])
    low, high = float(seen.min()), float(seen.max())
    room = 0.06 * (high - low) or 0.5
    return max(0.0, low - room), high + room


def _small_chart(rows: Rows, key: str, name: str, logarithmic: bool = False) -> str:
    tokens, values = columns(rows, "tokens", key)
    logarithmic = logarithmic and bool((values > 0).all())
    if not len(tokens):
        return ""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        _line(axes, tokens, values, name, TRAIN, width=1.1 if logarithmic else 1.7)
        axes.set_xlabel("tokens")
        axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
        if logarithmic:
            _logarithmic(axes, values)
        else:
            axes.set_ylim(0, 1.12 * float(values.max()) or 1)
        _start_at_zero(axes, tokens)

    return draw_svg(draw, SMALL, name)


def _logarithmic(axes: "Axes", values: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = float(values.min()) / 1.15, float(values.max()) * 1.15
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _line(
    axes: "Axes",
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    color: str,
    *,
    width: float = 1.7,
    opacity: float = 1.0,
    marks: bool = False,
) -> None:
    lone = len(x) == 1  # a line of one point would not be seen
    axes.plot(
        x,
        y,
        gid=name,
        color=color,
        linewidth=width,
        alpha=opacity,
        solid_joinstyle="round",
        solid_capstyle="round",
        marker="o" if marks or lone else None,
        markersize=3.2,
    )


def _mark_lowest(axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    best = int(y.argmin())
    axes.plot(x[best], y[best], gid="best-val-loss", color=VALID, marker="o", markersize=6.5)
    axes.annotate(
        f"{y[best]:.3f}",
        (x[best], y[best]),
        xytext=(0, 9),
        color=VALID,
        textcoords="offset points",
        ha="right" if best else "left",
        weight="bold",
    )


def _start_at_zero(axes: "Axes", *xs: np.ndarray) -> None:
    """The x axis from 0 to the largest value, with a little room at the right."""
    last = max(float(x.max()) for x in xs if len(x))
    axes.set_xlim(0, last * 1.02 or 1)


def _time_above(axes: "Axes", rows: Rows) -> None:
    """A second x axis with the time at which so many tokens were seen."""
    from matplotlib.ticker import FixedLocator

    tokens, seconds = columns(rows, "tokens", "seconds")
    if len(tokens) < 2 or not seconds.max() > 0:
        return
    order = np.lexsort((seconds, tokens))
    tokens, seconds = tokens[order], np.maximum.accumulate(seconds[order])
    ticks = _time_steps(float(seconds[-1]))
    inside = [tick for tick in ticks if seconds[0] <= tick <= seconds[-1]]
    above = axes.secondary_xaxis("top")
    above.xaxis.set_major_locator(FixedLocator(list(np.interp(inside, seconds, tokens))))
    above.set_xticklabels([short_time(tick) for tick in inside])
    above.spines["top"].set_visible(False)
    above.set_xlabel("time", labelpad=7)


def _time_ticks(axes: "Axes", last: float) -> None:
    ticks = _time_steps(last)
    axes.set_xticks(ticks, [short_time(tick) for tick in ticks])


def _time_steps(last: float) -> list[float]:
    """Round times from 0 to `last`, about five of them."""
    nice = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
    step = next((n for n in nice if last / n <= 6), 86400 * max(1, math.ceil(last / 86400 / 6)))
    return [float(step * i) for i in range(int(last // step) + 1)]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
