"""Training with an adapter: the base stays as it is, the adapter is kept, a resume is exact."""

import json
import shutil

import pytest
import torch
from brief import train, training_lines, validation_lines
from conftest import xunlian_command
from safetensors import safe_open
from safetensors.torch import load_file

import xunlian
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model
from xunlian.runs.adapted import fingerprint
from xunlian.runs.folder import open_run
from xunlian.runs.load import load_run
from xunlian.training.checkpoint import list_checkpoints

ADAPTER = ["adapter.kind=lora", "adapter.rank=4", "training.budget=30 steps"]


@pytest.fixture(scope="module")
def adapted(backwards_corpus, tiny_run, tmp_path_factory):
    """A run of thirty steps on it."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    return train(backwards_corpus, out, f"model.init_from={tiny_run}", *ADAPTER)


def test_what_is_new_is_learned_and_the_base_is_left_as_it_was(adapted, backwards_corpus, tiny_run):
    before = xunlian.evaluate(tiny_run, backwards_corpus)["scores"]["perplexity"]
    after = xunlian.evaluate(adapted.path, backwards_corpus)["scores"]["perplexity"]
    assert after < 0.5 * before
    known = json.loads((adapted.model_folder / "base.json").read_text())["weights_sha256"]
    assert fingerprint(load_model(tiny_run / "model")) == known


def test_model_and_checkpoints_hold_the_adapter_alone(adapted):
    assert not (adapted.model_folder / "model.safetensors").exists()
    with safe_open(adapted.model_folder / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert all("lora_A" in name or "lora_B" in name for name in names)
    assert len(names) == 2 * 7 * 2  # two matrices for each of seven in two blocks
    state = load_file(list_checkpoints(adapted.checkpoints)[-1] / "model.safetensors")
    assert state and all(".adapter." in name for name in state)


def test_the_merged_model_validates_as_the_training_did(adapted, backwards_corpus):
    """In training base and adapter multiply one by one; what is loaded is one matrix."""
    from xunlian.evaluation.perplexity import StreamValidation
    from xunlian.shards.corpus import open_corpus

    loaded = load_run(adapted.path)
    validation = StreamValidation(open_corpus(backwards_corpus).stream("val"), 32)
    with torch.no_grad():
        nats, tokens = validation.nats(loaded.model, 0, validation.parts, torch.float32)
    best = min(line["val_loss"] for line in validation_lines(adapted))
    assert nats / tokens == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [["training.precision=fp32"], ["training.precision=bf16", "adapter.kind=dora"]],
    ids=["lora fp32", "dora bf16"],
)
def test_a_resumed_run_ends_bit_identically(settings, backwards_corpus, tiny_run, tmp_path):
    fixed = [
        f"model.init_from={tiny_run}", *ADAPTER, *settings,
        "adapter.dropout=0.1", "training.checkpoint_every=5", "training.budget=12 steps",
    ]  # fmt: skip
    whole = train(backwards_corpus, tmp_path / "whole", *fixed, "training.keep_checkpoints=9")
    shutil.copytree(whole.path, tmp_path / "cut")
    for name in ("step-00000010", "step-00000012"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / name)
    xunlian.train(tmp_path / "cut", resume=True)
    for part in ("checkpoints/step-00000012/model", "checkpoints/step-00000012/optimizer"):
        one, two = (load_file(tmp_path / run / f"{part}.safetensors") for run in ("whole", "cut"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_named_matrices_alone_get_an_adapter(backwards_corpus, tiny_run, tmp_path):
    run = train(
        backwards_corpus, tmp_path / "run", f"model.init_from={tiny_run}", *ADAPTER,
        'adapter.targets=["q_proj", "up_proj"]',
        "training.budget=2 steps",
    )  # fmt: skip
    with safe_open(run.model_folder / "adapter_model.safetensors", "pt") as file:
        assert {name.split(".")[-3] for name in file.keys()} == {"q_proj", "up_proj"}  # noqa: SIM118


def refusal(corpus, out, *settings):
    with pytest.raises(InputError) as error:
        train(corpus, out, *ADAPTER, *settings)
    assert "\n" not in str(error.value) and not out.exists()
    return str(error.value)


def test_what_does_not_go_with_an_adapter_is_refused(backwards_corpus, tiny_run, adapted, tmp_path):
    out, base = tmp_path / "run", f"model.init_from={tiny_run}"
    assert "model.init_from" in refusal(backwards_corpus, out)
    assert "training.precision=fp8" in refusal(
        backwards_corpus, out, base, "training.precision=fp8"
    )
    message = refusal(backwards_corpus, out, base, "adapter.targets=q_prj")
    assert "'q_prj'" in message and "Did you mean 'q_proj'" in message
    message = refusal(backwards_corpus, out, f"model.init_from={adapted.path}")
    assert "xunlian merge" in message


@pytest.fixture(scope="module")
def pairs_corpus(tmp_path_factory):
    """Numbers and the same backwards."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = [f"{n}\t{str(n)[::-1]}\n" for n in range(1001, 3000, 7) if n % 10]
    (folder / "train.tsv").write_text("".join(lines))
    out = folder / "corpus"
    return xunlian.prepare(
        folder / "train.tsv", pairs=True, val=0.1, out=out, tokenizer="char", workers=1
    ).path


@pytest.mark.parametrize(
    "architecture", ["gpt2", "pegasus", pytest.param("marian", marks=pytest.mark.slow)]
)
def test_other_layouts_learn_with_adapters_too(architecture, tiny_corpus, pairs_corpus, tmp_path):
    corpus, network = tiny_corpus, [f"model.architecture={architecture}", "model.heads=4"]
    if architecture != "gpt2":
        corpus, network = pairs_corpus, [*network, "task=translation"]
    base = train(corpus, tmp_path / "base", *network, "training.budget=2 steps")
    run = train(
        corpus, tmp_path / "run", *network, f"model.init_from={base.path}", *ADAPTER,
        "training.precision=bf16", "training.validate_every=10",
    )  # fmt: skip
    first, *_, last = [line["val_loss"] for line in validation_lines(run)]
    assert last < first
    load_run(run.path)


@pytest.mark.slow
def test_compiled_and_eager_learn_alike(backwards_corpus, tiny_run, tmp_path):
    losses = []
    for compiled in ("on", "off"):
        run = train(
            backwards_corpus, tmp_path / compiled, f"model.init_from={tiny_run}", *ADAPTER,
            f"training.compile={compiled}", "training.attention=matmul", "training.budget=5 steps",
        )  # fmt: skip
        assert open_run(run.path).recipe.training.compile == compiled
        losses.append([line["loss"] for line in training_lines(run)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_an_adapter_run_is_a_start_for_training_all_of_it(adapted, backwards_corpus, tmp_path):
    run = train(
        backwards_corpus, tmp_path / "run", f"model.init_from={adapted.path}",
        "training.budget=1 steps", "training.learning_rate=1e-9", "training.optimizer=adamw",
    )  # fmt: skip
    (line,) = validation_lines(run)
    assert line["val_loss"] == pytest.approx(validation_lines(adapted)[-1]["val_loss"], abs=1e-3)


def test_a_network_that_only_xunlian_opens_is_refused(tiny_corpus, tmp_path):
    recurrent = ["model.family=gru", "training.budget=2 steps"]
    base = train(tiny_corpus, tmp_path / "base", *recurrent)
    message = refusal(tiny_corpus, tmp_path / "run", f"model.init_from={base.path}", *recurrent)
    assert "only Xunlian opens" in message


def test_a_resume_on_other_base_weights_is_refused(backwards_corpus, tiny_run, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_run, base)
    settings = [f"model.init_from={base}", *ADAPTER, "training.budget=2 steps"]
    run = train(backwards_corpus, tmp_path / "run", *settings)
    again = train(backwards_corpus, tmp_path / "other", f"model.init_from={base}", *ADAPTER[2:])
    shutil.copy(again.model_folder / "model.safetensors", base / "model" / "model.safetensors")
    done = xunlian_command("train", run.path, "--resume", "training.budget=3 steps")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "other weights" in done.stderr


def test_only_adapters_have_gradients_and_state_and_the_base_is_kept_once(tiny_run):
    from xunlian.interop.adapters import adapt
    from xunlian.models.adapter import freeze_base
    from xunlian.recipe.adapter import Adapter
    from xunlian.training.losses import NextTokenLoss
    from xunlian.training.optimizers import Optimizers, OptimizerSettings

    model = load_model(tiny_run / "model").train()
    adapt(model, Adapter(), seed=1)
    freeze_base(model, torch.bfloat16)
    rates = dict.fromkeys(("learning_rate", "embedding_learning_rate", "head_learning_rate"), 0.01)
    settings = OptimizerSettings(
        "adamw", **rates, norm_learning_rate=0.01, weight_decay=0.0, momentum=0.9,
        betas=(0.9, 0.95), iteration_dtype=torch.bfloat16,
    )  # fmt: skip
    optimizers = Optimizers(model, settings)
    tokens = torch.randint(0, 50, (2, 33))
    NextTokenLoss(model, torch.bfloat16)(tokens[:, :-1], tokens[:, 1:]).backward()
    for name, parameter in model.named_parameters():
        learns = ".adapter." in name
        assert (parameter.grad is not None) == learns, name
        if parameter.ndim == 2:
            assert parameter.dtype == (torch.float32 if learns else torch.bfloat16), name
    optimizers.step(1.0, 1.0)
    assert all(".adapter." in name for name in optimizers.state_tensors())
