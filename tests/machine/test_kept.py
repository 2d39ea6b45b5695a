"""What is said to be kept for the backward pass is near what the profiler counts."""

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from xunlian.machine.memory import MicroBatch, predict_training_memory
from xunlian.machine.recurrent_memory import HOLES
from xunlian.models.losses import CHUNK_LOGITS
from xunlian.recipe.resolve import resolve, shape_of
from xunlian.recipe.settings import Model, Recipe, Training
from xunlian.training.networks import build_model
from xunlian.training.objectives import loss_of

VOCAB, ROWS = 512, 32


def counted_peak(run) -> int:
    """Bytes of all tensors that are alive at the same time, at most, while `run` runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def recipe_of(task: str, family: str, dropout: float) -> Recipe:
    sizes = {"width": 256, "depth": 2} | ({"heads": 4} if family == "transformer" else {})
    model = Model(family=family, context=64, dropout=dropout, **sizes)
    recipe = Recipe(task=task, model=model, training=Training(batch_tokens=ROWS * 64))
    return resolve(recipe, vocab_size=VOCAB, corpus_tokens=10**7, matmul_rate=1e11, on_gpu=False)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("task", "family", "source"),
    [
        ("language-model", "rnn", 0),
        ("language-model", "gru", 0),
        ("language-model", "lstm", 0),
        ("translation", "gru", 48),
        ("translation", "lstm", 16),
        ("translation", "transformer", 64),
        ("translation", "transformer", 16),
    ],
)
def test_predicted_activations_are_near_those_counted(task, family, source, precision):
    recipe = recipe_of(task, family, 0.1 if task == "translation" else 0.0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    target = 64 if task == "language-model" else 32
    torch.manual_seed(1)
    model = build_model(recipe, VOCAB)
    model.train()
    model.attention_form = "matmul"
    loss = loss_of(recipe, model, dtype)
    inputs, targets = torch.randint(0, VOCAB, (2, ROWS, target))
    sources = torch.randint(0, VOCAB, (ROWS, max(1, source)))
    one = torch.zeros_like
    if task == "language-model":
        batch = inputs, torch.arange(ROWS), torch.zeros(ROWS, dtype=torch.bool), targets
    elif family == "transformer":
        batch = sources, one(sources), inputs, one(inputs), targets
    else:
        batch = tuple(part.unsqueeze(0) for part in (sources, one(sources), inputs, targets))
    loss(*batch).backward()  # gradients are there, as after the first micro-batch
    peak = counted_peak(lambda: loss(*batch).backward())
    parts = predict_training_memory(
        recipe.model,
        shape_of(recipe.model),
        VOCAB,
        batch=MicroBatch(ROWS, target, source),
        precision=precision,
        optimizer="muon",
        attention="matmul",
        compiled=False,
        chunk_logits=CHUNK_LOGITS,
    )
    predicted = parts["activations"]
    if task == "translation" and family != "transformer":
        predicted /= 1 + HOLES  # the profiler does not see the heap
    predicted += parts["loss chunk"] + parts["cast weights"]
    assert 0.8 < predicted / peak < 1.25, (predicted / 1e6, peak / 1e6)
