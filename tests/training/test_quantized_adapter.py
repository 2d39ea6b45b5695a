"""Training an adapter beside matrices in few bits: learned, resumed, merged, and refused."""

import json
import shutil
import sys

import pytest
import torch
from brief import train, training_lines, validation_lines
from conftest import TINY, xunlian_command
from safetensors.torch import load_file

import xunlian
from xunlian.errors import InputError
from xunlian.interop.adapters import adapt, read_adapter, read_adapter_config
from xunlian.interop.huggingface import load_model
from xunlian.models.adapter import freeze_base
from xunlian.runs.adapted import fingerprint
from xunlian.runs.load import load_run
from xunlian.shards.corpus import open_corpus

SETTINGS = ["adapter.rank=4", "training.budget=20 steps"]


@pytest.fixture(scope="module", params=["int8", "nf4"])
def quantized(request, backwards_corpus, tiny_run, tmp_path_factory):
    """(kind, a finished run of twenty steps on it)."""
    if request.param == "nf4":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    out = tmp_path_factory.mktemp("quantized") / "run"
    return request.param, train(
        backwards_corpus, out, f"model.init_from={tiny_run}", *SETTINGS,
        f"adapter.frozen={request.param}", "adapter.kind=dora", "adapter.dropout=0.1",
        "training.checkpoint_every=8", "training.keep_checkpoints=9",
    )  # fmt: skip


def test_it_learns_and_validates_what_it_trains(quantized, backwards_corpus, tiny_run):
    """The loss is that of base in few bits and adapter; the base itself is left as it was."""
    from xunlian.evaluation.perplexity import StreamValidation

    kind, run = quantized
    before = xunlian.evaluate(tiny_run, backwards_corpus)["scores"]["loss"]
    best = min(line["val_loss"] for line in validation_lines(run))
    assert best < before - 0.3
    known = json.loads((run.model_folder / "base.json").read_text())["weights_sha256"]
    model = load_model(tiny_run / "model")
    assert fingerprint(model) == known
    settings, _ = read_adapter_config(run.model_folder)
    adapt(model, settings.model_copy(update={"frozen": kind}), seed=0)
    freeze_base(model, torch.float32)
    read_adapter(run.model_folder, model)
    validation = StreamValidation(open_corpus(backwards_corpus).stream("val"), 32)
    with torch.no_grad():
        nats, tokens = validation.nats(model, 0, validation.parts, torch.float32)
    assert nats / tokens == pytest.approx(best, abs=1e-4)


def test_checkpoints_hold_the_adapter_alone_and_a_resume_ends_bit_identically(quantized, tmp_path):
    _, run = quantized
    cut = shutil.copytree(run.path, tmp_path / "cut")
    for name in ("step-00000016", "step-00000020"):
        shutil.rmtree(cut / "checkpoints" / name)
    xunlian.train(cut, resume=True)
    for part in ("model", "optimizer"):
        place = f"checkpoints/step-00000020/{part}.safetensors"
        one, two = load_file(run.path / place), load_file(cut / place)
        assert one.keys() == two.keys() and all(".adapter." in name for name in one)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_merges_into_the_whole_base_and_transformers_opens_it(quantized, tiny_run, tmp_path):
    transformers = pytest.importorskip("transformers")
    _, run = quantized
    out = xunlian.merge(run.path, out=tmp_path / "merged")
    tokens = torch.randint(4, 40, (2, 30), generator=torch.Generator().manual_seed(2))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    base = load_model(tiny_run / "model")
    adapt(base, read_adapter_config(run.model_folder)[0], seed=0)
    read_adapter(run.model_folder, base)
    with torch.no_grad():
        expected = load_run(run.path).model.logits(tokens)
        torch.testing.assert_close(theirs(tokens).logits, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(base.eval().logits(tokens), expected, atol=1e-4, rtol=1e-4)


def test_the_terminal_and_the_facts_say_so(quantized):
    kind, run = quantized
    facts = json.loads((run.path / "run.json").read_text())
    assert any(f"the blocks' matrices in {kind}" in note for note in facts["notes"])
    assert f'frozen = "{kind}"' in (run.path / "recipe.toml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_compiled_and_eager_learn_alike_and_all_blocks_share_one_code(
    kind, backwards_corpus, tiny_run, tmp_path
):
    if kind == "nf4":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    losses = []
    for compiled in ("on", "off"):
        run = train(
            backwards_corpus, tmp_path / compiled, f"model.init_from={tiny_run}", *SETTINGS,
            f"adapter.frozen={kind}", f"training.compile={compiled}", "training.budget=4 steps",
        )  # fmt: skip
        assert f'compile = "{compiled}"' in (run.path / "recipe.toml").read_text()
        losses.append([line["loss"] for line in training_lines(run)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 2  # a block, and the loss


def refusal(corpus, out, *settings):
    with pytest.raises(InputError) as error:
        train(corpus, out, *SETTINGS, *settings)
    assert "\n" not in str(error.value) and not out.exists()
    return str(error.value)


def test_a_missing_library_is_told_before_anything_is_written(
    backwards_corpus, tiny_run, tmp_path, monkeypatch
):
    from xunlian.models import quantized

    quantized._library.cache_clear()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    settings = [f"model.init_from={tiny_run}", "adapter.frozen=nf4"]
    message = refusal(backwards_corpus, tmp_path / "run", *settings)
    assert 'pip install "xunlian[quantized]"' in message and "adapter.frozen=int8" in message


def test_a_library_that_does_not_work_is_told_in_one_line(
    backwards_corpus, tiny_run, tmp_path, monkeypatch
):
    from xunlian.models import quantized

    def broken():
        raise RuntimeError("\n\nSETUP ERROR: no runtime libraries\n\nTo fix this, ...")

    monkeypatch.setattr(quantized, "_library", broken)
    settings = [f"model.init_from={tiny_run}", "adapter.frozen=nf4"]
    message = refusal(backwards_corpus, tmp_path / "run", *settings)
    assert "does not work on cpu (SETUP ERROR: no runtime libraries)" in message


def test_what_does_not_go_with_it_is_refused(backwards_corpus, tiny_corpus, tiny_run, tmp_path):
    out, base = tmp_path / "run", f"model.init_from={tiny_run}"
    assert "model.init_from" in refusal(backwards_corpus, out, "adapter.frozen=int8")
    fp8 = refusal(backwards_corpus, out, base, "adapter.frozen=int8", "training.precision=fp8")
    assert "training.precision=fp8" in fp8
    recurrent = ["model.family=gru", "training.budget=1 steps"]
    gru = train(tiny_corpus, tmp_path / "gru", *recurrent)
    settings = [f"model.init_from={gru.path}", "model.family=gru", "adapter.frozen=int8"]
    assert "only Xunlian opens" in refusal(tiny_corpus, out, *settings)
    done = xunlian_command(
        "train", "small", f"corpus.path={backwards_corpus}", *TINY, base, "adapter.frozen=int4",
        "--out", out,
    )  # fmt: skip
    assert done.returncode == 2 and not out.exists()
    assert len(done.stderr.strip().splitlines()) == 1 and "adapter.frozen" in done.stderr
