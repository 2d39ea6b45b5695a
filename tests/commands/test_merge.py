"""`xunlian merge`: adapter and base become one model folder that other engines open."""

import shutil

import pytest
import torch
from brief import train
from conftest import SAMPLES, xunlian_command
from made_run import tree

import xunlian
from xunlian.errors import InputError
from xunlian.runs.load import load_run


@pytest.fixture(scope="module")
def adapted(tiny_run, tmp_path_factory):
    """A finished run with an adapter of `tiny_run`."""
    folder = tmp_path_factory.mktemp("merge")
    lines = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:20_000].splitlines()
    (folder / "verse.txt").write_text("".join(line[::-1] + "\n" for line in lines), "utf-8")
    xunlian.prepare(folder / "verse.txt", out=folder / "corpus", tokenizer=str(tiny_run / "model"))
    settings = [f"model.init_from={tiny_run}", "adapter.kind=dora", "training.budget=10 steps"]
    return train(folder / "corpus", folder / "run", *settings).path


def test_the_merged_folder_is_the_adapted_model_in_transformers_too(adapted, tmp_path):
    transformers = pytest.importorskip("transformers")
    before = tree(adapted)
    out = xunlian.merge(adapted, out=tmp_path / "merged")
    assert tree(adapted) == before
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any("adapter" in name or name == "base.json" for name in names)
    tokens = torch.randint(4, 40, (2, 30), generator=torch.Generator().manual_seed(2))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    with torch.no_grad():
        expected = load_run(adapted).model.logits(tokens)
        torch.testing.assert_close(theirs(tokens).logits, expected, atol=1e-4, rtol=1e-4)
    options = {"max_tokens": 20, "temperature": 0, "precision": "fp32"}
    assert xunlian.generate(out, "The ", **options) == xunlian.generate(adapted, "The ", **options)


def test_peft_merges_the_run_to_the_same_weights(adapted, tiny_run, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    model = peft.AutoPeftModelForCausalLM.from_pretrained(adapted / "model")
    theirs = model.merge_and_unload().state_dict()
    from safetensors.torch import load_file

    ours = load_file(xunlian.merge(adapted, out=tmp_path / "merged") / "model.safetensors")
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-4, msg=name)


def test_the_command_says_where_the_model_is(adapted, tmp_path):
    done = xunlian_command("merge", adapted, "--out", tmp_path / "merged")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'merged'}\n"


def test_what_cannot_be_merged_is_refused_and_leaves_nothing(adapted, tiny_run, tmp_path):
    out = tmp_path / "deep" / "merged"
    with pytest.raises(InputError, match="has no adapter to merge"):
        xunlian.merge(tiny_run, out=out)
    with pytest.raises(InputError, match="There is no run"):
        xunlian.merge(tmp_path / "nothing", out=out)
    with pytest.raises(InputError, match="exists already"):
        xunlian.merge(adapted, out=tmp_path)
    broken = shutil.copytree(adapted, tmp_path / "broken")
    (broken / "model" / "base.json").write_text('{"weights_sha256": "0"}')
    done = xunlian_command("merge", broken, "--out", out)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "other weights" in done.stderr
    assert not out.parent.exists()
