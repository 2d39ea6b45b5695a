"""The arithmetic says at least what trainings took on an H200, so what it lets through fits there.

The rows are those of benchmarks/gpu_training.py.
"""

import json
from pathlib import Path

import pytest

import xunlian
from xunlian.machine.accelerators import ACCELERATORS
from xunlian.machine.memory import MicroBatch
from xunlian.models.losses import gpu_chunk_logits
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import resolve
from xunlian.training.fitting import memory_of_batch

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_training.jsonl"
ROWS = [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()]
OURS = {
    row["network"]: row  # the latest of each
    for row in ROWS
    if row["side"] == "xunlian" and {"settings", "memory_peak", "micro_rows"} <= row.keys()
}
VOCAB = 50_304


@pytest.mark.parametrize("network", OURS)
def test_no_less_is_predicted_than_was_taken(network):
    row = OURS[network]
    here = ["training.precision=bf16", "training.attention=sdpa"]
    recipe = resolve(
        load_recipe(xunlian.Recipe(), [*row["settings"], *here]),
        vocab_size=VOCAB,
        corpus_tokens=10**12,
        matmul_rate=7e14,
        on_gpu=True,
    )
    context = recipe.model.context
    batch = MicroBatch(row["micro_rows"], context, context if "encoder" in network else 0)
    chunk = gpu_chunk_logits(ACCELERATORS["h200"].memory)
    memory = memory_of_batch(recipe, VOCAB, batch, compiled=True, chunk_logits=chunk)
    assert 1 <= sum(memory.values()) / row["memory_peak"] < 1.8


def test_the_rows_are_of_every_family():
    assert {"gpt2-124m", "qwen3-350m", "encoder-decoder", "lstm", "gru", "rnn"} <= OURS.keys()
