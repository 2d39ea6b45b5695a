"""The arithmetic of memory is near what training really takes."""

import json

import pytest
import torch
from conftest import xunlian_command

from xunlian.errors import XunlianError
from xunlian.interop.adapters import adapt
from xunlian.machine.features import reset_peak_memory
from xunlian.machine.memory import MicroBatch, gpu_memory_errors, predict_training_memory
from xunlian.models.adapter import freeze_base
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.recipe.adapter import Adapter
from xunlian.recipe.settings import Model
from xunlian.recipe.size import Shape


@pytest.mark.skipif(not reset_peak_memory(), reason="the system does not tell peak memory")
@pytest.mark.parametrize(
    "settings",
    [
        ["training.compile=off"],
        pytest.param(
            ["training.compile=off", "training.precision=fp32", "model.context=64"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["training.compile=off", "model.architecture=gpt2", "training.attention=sdpa"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["training.compile=off", "model.architecture=speedrun"], marks=pytest.mark.slow
        ),
        pytest.param(["training.compile=on"], marks=pytest.mark.slow),
        pytest.param(["training.compile=on", "model.context=512"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_predicted_peak_is_within_a_third_of_the_measured(tiny_corpus, tmp_path, settings):
    context = 512 if "model.context=512" in settings else 128
    done = xunlian_command(
        "train",
        "small",
        f"corpus.path={tiny_corpus}",
        "model.depth=6",
        "model.width=256",
        f"model.context={context}",
        "training.batch_tokens=4096",
        "training.budget=4 steps",
        "training.validate_every=100",
        "training.threads=2",
        *settings,
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    predicted = sum(facts["memory_predicted"].values())
    assert 1 / 1.3 < facts["memory_measured"] / predicted < 1.3


@pytest.mark.skipif(not reset_peak_memory(), reason="the system does not tell peak memory")
@pytest.mark.slow
@pytest.mark.parametrize(
    "adapter",
    [["adapter.kind=lora"], ["adapter.kind=dora"], ["adapter.frozen=int8"], ["adapter.frozen=nf4"]],
    ids="".join,
)
def test_frozen_weights_are_counted_once_and_the_prediction_holds(tiny_corpus, tmp_path, adapter):
    if adapter == ["adapter.frozen=nf4"]:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    network = [
        "small", f"corpus.path={tiny_corpus}", "model.depth=6", "model.width=256",
        "model.context=128", "training.batch_tokens=4096", "training.validate_every=100",
        "training.threads=1", "training.compile=off", "training.precision=bf16",
    ]  # fmt: skip
    base, run = tmp_path / "base", tmp_path / "run"
    trainings = [
        ["training.budget=1 steps", "--out", base],
        ["training.budget=4 steps", f"model.init_from={base}", *adapter, "--out", run],
    ]
    for settings in trainings:
        done = xunlian_command("train", *network, *settings)
        assert done.returncode == 0, done.stderr
    whole, facts = (json.loads((path / "run.json").read_text()) for path in (base, run))
    predicted = facts["memory_predicted"]
    assert predicted["weights"] < 0.7 * whole["memory_predicted"]["weights"]
    assert predicted["gradients"] < 0.2 * whole["memory_predicted"]["gradients"]
    assert 1 / 1.3 < facts["memory_measured"] / sum(predicted.values()) < 1.3


@pytest.mark.parametrize(("frozen", "least"), [("int8", 0.5), ("nf4", 0.25)])
def test_weights_in_few_bits_are_counted_as_they_are_kept(frozen, least):
    if frozen == "nf4":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    shape, vocab_size, weights = Shape(3, 256, 4, 2, 64, 704, False), 500, {}
    for kept_in in (None, frozen):
        settings = Adapter(rank=2, frozen=kept_in)
        model = Decoder(DecoderConfig("qwen3", vocab_size, 3, 256, 4, 2, 64, 704, 64, False))
        adapt(model, settings, seed=1)
        freeze_base(model, torch.bfloat16)
        kept = sum(p.numel() * p.element_size() for p in model.parameters())
        weights[kept_in] = predict_training_memory(
            Model(architecture="qwen3", context=64), shape, vocab_size,
            batch=MicroBatch(1, 64), precision="bf16", optimizer="adamw", attention="sdpa",
            compiled=True, chunk_logits=1 << 20, adapter=settings,
        )["weights"]  # fmt: skip
        assert weights[kept_in] == pytest.approx(kept, rel=0.02)
    assert least < weights[frozen] / weights[None] < least + 0.15


def test_a_full_gpu_is_told_in_one_line_with_the_mend():
    with pytest.raises(XunlianError) as caught, gpu_memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")
    assert caught.value.exit_status == 1 and "\n" not in str(caught.value)
    assert "training.micro_batch_tokens" in str(caught.value)
