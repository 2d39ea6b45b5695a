"""What nanoGPT prints is read as it means it."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PRINTED = """\
step 0: train loss 10.9886, val loss 10.9914
iter 0: loss 10.9886, time 41000.00ms, mfu -100.00%
iter 1: loss 10.2, time 1000.00ms, mfu -100.00%
iter 2: loss 9.9, time 1000.00ms, mfu -100.00%
iter 3: loss 9.7, time 960.00ms, mfu -100.00%
iter 4: loss 9.6, time 2000.00ms, mfu -100.00%
iter 5: loss 9.5, time 950.00ms, mfu 42.00%
peak 33789942784
"""


@pytest.fixture
def gpu_training(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_training

    yield gpu_training
    for name in ("gpu_training", "mfu", "records", "peers", "peers.child", "peers.start"):
        sys.modules.pop(name, None)


def test_the_speed_is_the_median_of_the_steps_after_those_that_compile(gpu_training):
    row = gpu_training.read_log(PRINTED)
    assert row["step_seconds"] == pytest.approx(0.96)
    assert row["tokens_per_second"] == pytest.approx(491_520 / 0.96)
    assert row["memory_peak"] == 33_789_942_784


def test_every_network_is_of_settings_that_there_are(gpu_training):
    from xunlian.recipe.load import load_recipe
    from xunlian.recipe.settings import Recipe

    for settings in gpu_training.NETWORKS.values():
        assert load_recipe(Recipe(), settings).model.context in (256, 1024)
