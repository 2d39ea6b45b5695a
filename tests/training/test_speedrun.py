"""Trainings of the speedrun decoder: they learn, write, are scored, and say what they cost."""

import math
import shutil

import pytest
import torch
from brief import train, training_lines, validation_lines
from conftest import TINY
from made_decoder import CONFIGS
from test_resume import assert_same_run

import xunlian
from xunlian.cli import main
from xunlian.interop.huggingface import build
from xunlian.models.speedrun import initialize
from xunlian.training.checkpoint import list_checkpoints
from xunlian.training.optimizers import Optimizers, OptimizerSettings


def test_a_run_learns_writes_and_says_that_only_xunlian_opens_it(tiny_corpus, tmp_path):
    run = train(
        tiny_corpus, tmp_path / "run", "model.architecture=speedrun", "training.budget=60 steps"
    )
    found = [row["loss"] for row in training_lines(run)]
    assert found[0] == pytest.approx(math.log(run.facts()["vocab_size"]), abs=0.1)
    assert validation_lines(run)[-1]["val_loss"] < 2.6
    assert any("only Xunlian opens" in note for note in run.facts()["notes"])
    text = xunlian.generate(run.path, "KING", max_tokens=50, temperature=0, precision="fp32")
    assert len(text) == 50
    assert xunlian.evaluate(run.path)["scores"]["loss"] < 2.8


def test_a_run_that_goes_on_is_bit_identical(tiny_corpus, tmp_path):
    settings = [
        "model.architecture=speedrun", "model.dropout=0.1", "training.budget=8 steps",
        "training.checkpoint_every=3", "training.keep_checkpoints=9", "training.log_every=2",
        "training.validate_every=4",
    ]  # fmt: skip
    train(tiny_corpus, tmp_path / "whole", *settings)
    # As if it had been killed after the first checkpoint.
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for path in list_checkpoints(tmp_path / "killed" / "checkpoints")[1:]:
        shutil.rmtree(path)
    xunlian.train(tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_it_is_refused_for_pairs_with_status_2(tmp_path, capsys):
    sides = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for side, shift in zip(sides, (0, 1), strict=True):
        side.write_text("".join(f"line {n + shift} of many\n" for n in range(200)))
    corpus = xunlian.prepare(*sides, pairs=True, out=tmp_path / "corpus", tokenizer="char")
    arguments = ["task=translation", f"corpus.path={corpus.path}", *TINY]
    out = tmp_path / "run"
    assert (
        main(["train", "small", *arguments, "model.architecture=speedrun", "--out", str(out)]) == 2
    )
    last = capsys.readouterr().err.splitlines()[-1]
    assert "speedrun is not for pairs; choose pegasus or marian" in last
    assert not out.exists()


def test_tables_learn_at_the_rate_of_the_embedding_and_scalars_at_that_of_norms():
    model = build(CONFIGS["speedrun"])
    initialize(model, torch.Generator().manual_seed(1))
    settings = OptimizerSettings(
        "muon", 0.02, 0.03, 0.004, 0.01, 0.1, 0.95, (0.9, 0.95), torch.float32
    )
    optimizers = Optimizers(model, settings)
    groups = [g for o in optimizers.all for g in o.param_groups]
    rates = {optimizers.names[p]: group["lr"] for group in groups for p in group["params"]}
    assert rates.keys() == dict(model.named_parameters()).keys()
    assert {rates[name] for name in rates if name.startswith("values")} == {0.03}
    assert {rates[name] for name in rates if name.endswith("scales")} == {0.01}
    assert {rates[name] for name in rates if "value_gate" in name} == {0.02}
