"""The parts of the time-to-loss benchmark that need no peer."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("peers", "records")]:
        del sys.modules[name]


def ours(budget: float, loss: float, seed: int = 1) -> dict:
    return {
        "side": "xunlian",
        "settings": {"budget_seconds": budget},
        "seed": seed,
        "seconds": budget + 1.0,
        "tokens": 1000,
        "loss": loss,
        "tokens_per_second": 200.0,
        "memory_base": 300_000_000,
        "memory_peak": 700_000_000,
    }


def peer(loss: float, seconds: float, rate: float = 0.001) -> dict:
    point = {"seconds": seconds, "tokens": 1000, "loss": loss}
    return {
        "side": "nanogpt",
        "settings": {"rate": rate},
        "seed": 1337,
        **point,
        "curve": [{"seconds": seconds / 2, "tokens": 500, "loss": loss + 1}, point],
        "tokens_per_second": 100.0,
        "memory_base": 200_000_000,
        "memory_peak": 1_000_000_000,
    }


def test_nanogpts_log_gives_its_losses_without_the_time_of_its_evaluations() -> None:
    from peers.nanogpt import read_log
    from peers.start import Line

    lines = [
        Line(3.0, "using fused AdamW: False"),
        Line(13.0, "step 0: train loss 4.2, val loss 4.25"),  # 10 s
        Line(14.5, "iter 0: loss 4.2, time 11500.00ms, mfu -100.00%"),
        Line(15.5, "iter 1: loss 4.0, time 1000.00ms, mfu -100.00%"),
        Line(25.5, "step 2: train loss 3.4, val loss 3.5000"),  # 10 s
        Line(25.6, "saving checkpoint to out"),
        Line(29.0, "iter 2: loss 3.0, time 13500.00ms, mfu 1.00%"),  # 2.4 s of them to save
        Line(30.0, "iter 3: loss 2.9, time 1000.00ms, mfu 1.00%"),
    ]
    curve, ends = read_log(lines, batch_tokens=100)
    assert ends == [4.0, 5.0, 6.0, 7.0]
    assert curve == [
        {"seconds": 3.0, "tokens": 0, "loss": 4.25},
        {"seconds": 5.0, "tokens": 200, "loss": 3.5},
    ]


def test_the_smallest_budget_counts_whose_mean_over_seeds_is_low_enough() -> None:
    from peers.ratios import first_to_reach, points

    rows = [ours(60, 1.4), ours(20, 1.9), ours(40, 1.45, seed=1), ours(40, 1.65, seed=2)]
    found = points(rows)
    assert [point.budget for point in found] == [20, 40, 60]
    assert found[1].seeds == (1, 2)
    reached = first_to_reach(found, 1.56)
    assert reached and (reached.budget, reached.seconds) == (40, 41.0)
    next_one = first_to_reach(found, 1.5)
    assert next_one and next_one.budget == 60
    assert first_to_reach(found, 1.3) is None


def test_the_table_compares_with_the_best_rate_of_a_peer() -> None:
    from peers.ratios import Goal, table

    goals = [Goal("nanogpt", "xunlian", times=20)]
    rows = [peer(1.7, 500.0, 0.001), peer(1.5, 410.0, 0.002), ours(20, 1.9), ours(40, 1.5)]
    line = table(goals, rows, {"nanogpt": "theirs", "xunlian": "us"}).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:6] == ["theirs", "1.5000", "410.0 s", "us", "41.0 s, seed 1", "10.00x"]
    assert cells[7] == "400 MB, its 800 MB"


def test_the_table_says_what_was_not_reached() -> None:
    from peers.ratios import Goal, table

    goals = [Goal("nanogpt-a100", "xunlian", loss=1.4697, seconds=300)]
    line = table(goals, [ours(40, 1.5)], {"nanogpt-a100": "theirs", "xunlian": "us"})
    assert "not in 41 s (1.5000)" in line.splitlines()[-1]


def test_what_a_child_tells_becomes_a_row() -> None:
    from peers.child import MARK
    from peers.start import Line, facts, gather

    lines = [
        Line(0.1, "number of parameters: 10.65M"),
        Line(1.0, MARK + '{"memory_base": 5}'),
        Line(4.0, MARK + '{"first_step_seconds": 4.0, "first_step_tokens": 10}'),
        Line(5.0, MARK + '{"seconds": 5.0, "tokens": 20, "loss": 3.0}'),
        Line(9.0, MARK + '{"seconds": 6.0, "tokens": 30, "loss": 2.0}'),
    ]
    row = gather(facts(lines))
    assert row["tokens_per_second"] == 10.0
    assert (row["loss"], row["memory_base"], len(row["curve"])) == (2.0, 5, 2)


def test_all_sides_stand_in_the_picture(tmp_path) -> None:
    from peers.picture import curves, draw
    from peers.ratios import Goal

    rows = [peer(1.7, 500.0), ours(20, 1.9), ours(40, 1.5, 1), ours(40, 1.6, 2)]
    assert curves(rows) == {
        "xunlian": ([21.0, 41.0], [1.9, 1.55]),
        "nanogpt": ([250.0, 500.0], [2.7, 1.7]),
    }
    goals = [Goal("nanogpt", "xunlian", times=20)]
    draw([("A task", rows)], goals, {"nanogpt": "theirs", "xunlian": "us"}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_peers_validation_loss_is_computed_as_ours(tiny_corpus) -> None:
    import torch
    from made_decoder import CONFIGS, randomized
    from peers.chinese import read_tokens
    from peers.evaluate import validation_loss

    from xunlian.evaluation.perplexity import validation_loss as our_validation_loss
    from xunlian.shards.corpus import open_corpus

    corpus = open_corpus(tiny_corpus)
    model = randomized(replace(CONFIGS["qwen3"], vocab_size=corpus.vocab_size))
    tokens = read_tokens(str(tiny_corpus), "val")[:500]  # not whole windows
    assert (len(tokens) - 1) % 24
    wanted = our_validation_loss(model, Shortened(tokens), dtype=torch.float32, batch_tokens=100)
    assert validation_loss(model.logits, tokens, 24) == pytest.approx(wanted, abs=1e-5)


class Shortened:
    """A stream of tokens, as the evaluation reads it."""

    def __init__(self, tokens) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, start: int, stop: int):
        return self.tokens[start:stop]


@pytest.fixture
def bench(tmp_path):
    from peers.bench import Bench
    from peers.ratios import Goal

    def make(again: bool = False):
        options = Namespace(again=again, only=None, budgets=(10, 20, 30), seeds=[1, 2])
        goals = [Goal("nanogpt", "xunlian", times=20)]
        names = {"nanogpt": "theirs", "xunlian": "us"}
        return Bench("a-task", goals, names, options, tmp_path)

    return make


def test_a_second_start_measures_only_what_is_not_on_file(bench) -> None:
    runs: list[str] = []

    def measure(version: str, rate: float, again: bool = False) -> None:
        def run() -> dict:
            runs.append(version)
            return {"loss": 2.0, "seconds": 3.0, "tokens": 4}

        bench(again).measure("nanogpt", version, {"steps": 10, "rate": rate}, 1, run)

    measure("a", 0.1)
    measure("a", 0.1)
    assert len(runs) == 1
    measure("a", 0.2)
    measure("b", 0.1)
    assert runs == ["a", "a", "b"]
    measure("a", 0.1)  # is still there
    measure("a", 0.1, again=True)
    assert runs == ["a", "a", "b", "a"]
    assert [row["version"] for row in bench().rows()] == ["a", "a"]  # two rates, of the last setup


def test_a_peer_that_fails_stops_nothing(bench) -> None:
    from peers.start import Failed

    def run() -> dict:
        raise Failed("no memory")

    one = bench()
    one.measure("nanogpt", "a", {}, 1, run)
    assert one.failed and one.rows() == []


def test_budgets_grow_until_the_peers_loss_is_reached(bench, monkeypatch) -> None:
    losses = {"10s": 2.0, "20s": 1.5, "30s": 1.2}
    asked = []

    def measure(folder, corpus, recipe, overrides, budget, seed) -> dict:
        asked.append((budget, seed))
        return {"loss": losses[budget], "seconds": 1.0, "tokens": 1, "tokens_per_second": 1.0}

    one = bench()
    theirs = {"loss": 1.6, "seconds": 99.0, "tokens": 4}
    one.measure("nanogpt", "a", {}, 1, lambda: theirs)
    monkeypatch.setattr("peers.ours.measure", measure)
    one.ours("xunlian", Path("corpus"), Path("folder"), "recipe", [])
    assert asked == [("10s", 1), ("10s", 2), ("20s", 1), ("20s", 2)]


def test_a_child_runs_in_its_folder_and_its_failure_is_told(tmp_path, monkeypatch) -> None:
    from peers import start

    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "one.py").write_text(
        "import json, os, sys\n"
        "print(os.getcwd(), json.loads(sys.argv[1]), os.listdir(os.environ[CACHE]))\n"
        "sys.exit('no memory') if json.loads(sys.argv[1]) else None\n".replace(
            "CACHE", "'TORCHINDUCTOR_CACHE_DIR'"
        )
    )
    monkeypatch.setattr(start, "BENCHMARKS", tmp_path)
    (line,) = start.start("one", tmp_path, {})
    assert line.text == f"{tmp_path} {{}} []" and line.seconds > 0
    with pytest.raises(start.Failed, match="no memory"):
        start.start("one", tmp_path, {"steps": 1})


def test_an_older_checkout_is_imported_before_ours(tmp_path, monkeypatch) -> None:
    from peers import start

    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "one.py").write_text("import older; print(older.AGE)\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "older.py").write_text("AGE = 3\n")
    monkeypatch.setattr(start, "BENCHMARKS", tmp_path)
    assert start.start("one", tmp_path, {}, source=tmp_path / "src")[0].text == "3"
