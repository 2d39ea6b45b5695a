"""The mean of the last checkpoints: what it is, when it is taken, and that training goes on."""

import torch
from brief import train
from safetensors.torch import load_file

from xunlian.interop.huggingface import load_model
from xunlian.training.checkpoint import list_checkpoints

ROUGH = [
    "training.budget=60 steps",
    "training.checkpoint_every=10",
    "training.validate_every=1000",
    "training.learning_rate=0.06",
    "training.final_rate=1",  # a rate that never falls: weights go about their mean
    "training.average_checkpoints=3",
]


def test_the_mean_of_the_last_ones_is_taken_when_it_is_better(tiny_corpus, tmp_path, capsys):
    run = train(tiny_corpus, tmp_path / "run", *ROUGH)
    assert "The mean of the last 3 checkpoints has loss" in capsys.readouterr().err
    kept = list_checkpoints(run.checkpoints)
    assert [path.name for path in kept] == ["step-00000040", "step-00000050", "step-00000060"]
    parts = [load_file(path / "model.safetensors") for path in kept]
    weights = load_model(run.model_folder).state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, sum(part[name] for part in parts) / 3)
    last = [row["val_loss"] for row in run.metrics() if "val_loss" in row]
    assert run.facts()["best_val_loss"] < last[-1]


def test_it_is_left_when_it_is_no_better(tiny_corpus, tmp_path, capsys):
    """While the loss falls fast, earlier weights only spoil the last ones."""
    run = train(tiny_corpus, tmp_path / "run", *ROUGH, "training.learning_rate=0.001",
                "training.final_rate=0", "training.embedding_learning_rate=0.001",
                "training.head_learning_rate=0.001")  # fmt: skip
    assert "not better, left" in capsys.readouterr().err
    weights = load_model(run.model_folder).state_dict()
    last = load_file(list_checkpoints(run.checkpoints)[-1] / "model.safetensors")
    for name, tensor in weights.items():
        assert torch.equal(tensor, last[name])


def test_averaging_changes_nothing_of_the_training(tiny_corpus, tmp_path):
    """A resume goes on from the weights themselves, not from their mean."""
    plain = [setting for setting in ROUGH if "average" not in setting]
    ours, theirs = (
        load_file(
            list_checkpoints(train(tiny_corpus, tmp_path / name, *settings).checkpoints)[-1]
            / "model.safetensors"
        )
        for name, settings in (("averaged", ROUGH), ("plain", plain))
    )
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
