"""The page, picture and table of a comparison say what the numbers say."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from xunlian.report.comparison import draw_png, render_comparison
from xunlian.report.comparison_table import figures, findings, table
from xunlian.report.families import _apart, draw_tokens, panels
from xunlian.report.svg import draw_svg

LOSSES = {"rnn": 1.8, "transformer": 1.5}
SPEEDS = {"rnn": 20_000, "transformer": 30_000}


def points(svg, name):
    """Where the line with this id is drawn: (x, y)."""
    path = re.search(rf'<g id="{name}">.*?<path d="(.*?)"', svg, re.DOTALL)
    return np.array([(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path[1])])


def made_run(family, seed=1, shift=0.0):
    final, speed = LOSSES[family] + shift, SPEEDS[family]

    def at(i):
        return {"step": i, "tokens": speed * i, "seconds": float(i)}

    return {
        "family": family,
        "seed": seed,
        "run": f"runs/c/{family}-{seed}",
        "parameters": 1_000_000,
        "depth": 2,
        "width": 64,
        "steps": 100,
        "tokens": speed * 100,
        "seconds": 100.0,
        "tokens_per_second": float(speed),
        "curve": [{**at(i), "val_loss": final + (100 - i) / 50} for i in range(10, 101, 10)],
        "training_curve": [{**at(i), "loss": final + (100 - i) / 40} for i in range(1, 101)],
        "scores": {"loss": final, "perplexity": float(np.exp(final))},
        "by_position": [
            {"first": last, "last": last, "loss": final + 1 / last, "tokens": 10}
            for last in (1, 2, 4, 8, 16, 32)
        ],
        "by_source_length": [],
    }


def made(**changes):
    return {
        "recipe": "small",
        "about": "<b>made</b>",
        "task": "language-model",
        "corpus": "corpora/c",
        "vocab_size": 300,
        "budget": "100s",
        "context": 32,
        "families": list(LOSSES),
        "seeds": 1,
        "runs": [made_run(family) for family in LOSSES],
        "probe": [
            {
                "family": family,
                "parameters": 300_000,
                "steps": 50,
                "accuracy": {"4": 1.0, "8": share, "16": 0.1},
                "reach": reach,
                "survives": 0.9,
            }
            for family, share, reach in (("rnn", 0.5, 4), ("transformer", 1.0, 8))
        ],
        "folder": "runs/c",
        "made_with": "Xunlian 迅练",
        **changes,
    }


class Texts(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_data(self, data):
        if data.strip():
            self.found.append(data.strip())


def test_the_page_shows_every_figure_of_the_table_and_loads_nothing():
    result = made()
    page = render_comparison(result, 'about = "x & y"')
    texts = Texts(page).found
    for row in figures(result):
        assert set(row.values()) <= set(texts)
    assert set(findings(result)) <= set(texts)
    assert "<b>made</b>" not in page and 'about = "x & y"' in texts
    assert not re.search(r'(src|href)="[^#]|url\((?!#)|https?://', page)
    assert len(re.findall("<svg", page)) == len(panels(result)) == 4


def test_the_table_names_what_is_compared():
    shown = table(made())
    lines = shown.splitlines()
    heads = next(line for line in lines if "family" in line)
    assert "copies over" in heads and "BLEU" not in heads
    transformer = next(line for line in lines if line.startswith("Transformer"))
    assert transformer.split()[-1] == "8" and "1.500" in transformer and "30,000" in transformer
    assert "runs/c/compare.html" in shown


def test_findings_follow_from_the_numbers():
    order, speed, context, copied = findings(made())
    assert "the Transformer has the lowest validation loss, 1.500" in order and "+0.300" in order
    assert "30,000 tokens/s, 1.5 times" in speed
    assert "Between 8 and 32 tokens" in context and context.count("0.094") == 2
    assert "RNN 4, Transformer 8" in copied


def test_over_several_seeds_the_spread_is_told():
    runs = [made_run(family, seed, 0.02 * seed) for seed in (1, 2) for family in LOSSES]
    result = made(runs=runs, seeds=2, probe=[])
    assert figures(result)[1]["loss"] == "1.530 ±0.010"
    assert "at most 0.020 apart" in findings(result)[1]
    assert len(panels(result)) == 3


def test_the_line_of_a_family_has_its_points():
    result = made()
    svg = draw_svg(lambda f: draw_tokens(f.subplots(), result, lambda color: color), (5, 3), "t")
    drawn = points(svg, "val-loss-tokens-transformer")
    # A logarithmic axis: equal ratios are equal distances.
    tokens = np.array([row["tokens"] for row in result["runs"][1]["curve"]])
    inside = drawn[:, 0]
    expected = np.log(tokens[-len(inside) :])
    scale = np.diff(inside) / np.diff(expected)
    assert scale == pytest.approx(scale[0], rel=1e-3)
    assert "var(--transformer)" in svg and "Transformer  1.50" in svg


def test_names_never_cover_each_other():
    for places in ([0.5, 0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.2, 0.21, 0.3, 0.31], [0.0, 0.0]):
        moved = _apart(places, 0.08)
        assert (np.diff(moved) >= 0.08 - 1e-9).all() and moved[0] >= 0
    assert _apart([0.1, 0.5], 0.08) == [0.1, 0.5]


def test_a_picture_is_drawn_and_nothing_is_drawn_of_nothing(tmp_path):
    draw_png(made(), tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    empty = [{**made_run("rnn"), "curve": [], "training_curve": [], "by_position": []}]
    draw_png(made(runs=empty, probe=[]), tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()
    assert "RNN" in render_comparison(made(runs=empty, probe=[]), "")


def test_runs_that_had_no_time_for_a_step_are_shown_too():
    late = made_run("rnn")
    late["curve"] = [{**late["curve"][0], "step": 0, "tokens": 0}]
    assert "RNN" in render_comparison(made(runs=[late], probe=[]), "")
