"""Charts show what the data says: the drawn points are read back from the picture."""

import re

import numpy as np
import pytest

from xunlian.report import charts


def rows():
    return [
        {
            "step": i,
            "tokens": 1000 * i,
            "seconds": 2.0 * i,
            "loss": 4 - i / 50,
            "learning_rate": 0.02 * i / 100,
            "grad_norm": 1.0,
            "mfu": 0.25,
            "tokens_per_second": 500.0,
        }
        for i in range(1, 101)
    ]


def points(svg, name):
    """(x, y) of the line with this id, y counted upwards."""
    path = re.search(rf'<g id="{name}">.*?<path d="(.*?)"', svg, re.DOTALL)
    numbers = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path[1])
    return np.array([(float(x), -float(y)) for x, y in numbers])


def test_a_validation_point_stands_for_every_validation_and_the_lowest_is_marked():
    losses = [4.0, 3.0, 2.0, 2.5]
    data = [
        {"tokens": 100 * (i + 1), "seconds": 1.0 + i, "val_loss": loss}
        for i, loss in enumerate(losses)
    ]
    svg = charts.loss_chart(data)
    drawn = points(svg, "val-loss")
    assert len(drawn) == 4
    # Linear axes: drawn distances are proportional to the data's.
    assert np.diff(drawn[:, 0]) == pytest.approx(np.diff(drawn[:, 0])[0])
    steps = np.diff(drawn[:, 1])
    assert steps / steps[0] == pytest.approx([1, 1, -0.5], abs=1e-4)
    assert ">2.000</text>" in svg
    mark = re.search(r'<g id="best-val-loss">.*?x="([\d.]+)" y="([\d.]+)"', svg, re.DOTALL)
    assert (float(mark[1]), -float(mark[2])) == pytest.approx(tuple(drawn[2]))


def test_a_straight_loss_is_drawn_straight_and_smoothing_leaves_it_so():
    svg = charts.loss_chart(rows())
    raw, smooth = points(svg, "train-loss-raw"), points(svg, "train-loss")
    slope, offset = np.polyfit(raw[:, 0], raw[:, 1], 1)
    assert slope < 0
    assert np.abs(slope * raw[:, 0] + offset - raw[:, 1]).max() < 0.1
    away = np.abs(np.interp(smooth[:, 0], raw[:, 0], raw[:, 1]) - smooth[:, 1])
    assert away[:-3].max() < 0.1 and away.max() < 3  # of 220 in height, at the open end


def test_smoothing_keeps_the_mean_and_calms_the_noise():
    noisy = 3 + np.random.default_rng(0).normal(0, 1, 400)
    smooth = charts.smoothed(noisy)
    assert len(smooth) == 400
    assert smooth.mean() == pytest.approx(noisy.mean(), abs=0.05)
    assert smooth.std() < 0.35 * noisy.std()
    assert charts.smoothed(np.array([7.0])).tolist() == [7.0]


def test_the_first_fall_does_not_flatten_the_rest():
    losses = 3 + 6 * np.exp(-np.arange(200) / 3)
    low, high = charts.loss_limits(losses, np.array([3.2, 3.1]))
    assert low < 3 and 3.2 < high < 5


def test_throughput_reads_in_tokens_and_in_mfu():
    svg = charts.throughput_chart(rows())
    drawn = points(svg, "throughput")
    assert np.ptp(drawn[:, 1]) < 1e-3  # constant speed, level line
    assert "MFU" in svg and "%</text>" in svg and "tokens/s" in svg


def test_missing_and_infinite_values_are_left_out():
    data = [
        *rows(),
        {"tokens": 5, "seconds": 1, "loss": None},
        {"tokens": 6, "seconds": 1, "loss": float("inf")},
    ]
    tokens, losses = charts.columns(data, "tokens", "loss")
    assert len(tokens) == len(losses) == 100
    assert charts.loss_chart([{"tokens": 1, "seconds": 1, "loss": float("nan")}]) == ""


def test_charts_of_one_page_share_no_ids_and_carry_no_colours_of_their_own():
    data = [*rows(), {"tokens": 50_000, "seconds": 100.0, "val_loss": 3.0}]
    pictures = [
        charts.loss_chart(data),
        charts.throughput_chart(data),
        charts.learning_rate_chart(data),
        charts.gradient_chart(data),
    ]
    seen = set()
    for svg in pictures:
        ids = re.findall(r' id="([^"]+)"', svg)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert {a or b for a, b in used} <= set(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        assert not re.search(r"#[0-9a-fA-F]{6}\b", svg) and "<style" not in svg
        assert "<text" in svg and 'width="' not in svg[: svg.index(">")]


def test_the_same_data_gives_the_same_bytes():
    assert charts.loss_chart(rows()) == charts.loss_chart(rows())
