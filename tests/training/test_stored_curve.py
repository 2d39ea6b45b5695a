"""A training today goes as it went when its curve was stored.

`curve.json` holds the losses of thirty steps of a tiny network in fp32 on one thread. A change that
is not meant to alter the mathematics must leave it as it is; after one that is, store it anew:

    .venv/bin/python tests/training/test_stored_curve.py

and say in the commit why the numbers moved.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # when run by itself

from brief import train, training_lines, validation_lines
from conftest import SAMPLES

import xunlian

STORED = Path(__file__).with_name("curve.json")
ARCHITECTURES = ["qwen3", "gpt2"]
SETTINGS = [
    "training.budget=30 steps",
    "training.log_every=1",
    "training.validate_every=10",
    "training.micro_batch_tokens=256",
    "model.heads=4",
    "model.dropout=0",
]


def curve(architecture: str, folder: Path) -> dict[str, list[float]]:
    """Losses and gradient norms of each step, and the validation losses."""
    text = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:40_000]
    (folder / "text.txt").write_text(text, "utf-8")
    corpus = xunlian.prepare(
        folder / "text.txt", out=folder / "corpus", tokenizer="char", val=0.1, workers=1
    )
    run = train(corpus.path, folder / "run", f"model.architecture={architecture}", *SETTINGS)
    lines = training_lines(run)
    return {
        "loss": [round(row["loss"], 6) for row in lines],
        "grad_norm": [round(row["grad_norm"], 6) for row in lines],
        "val_loss": [round(row["val_loss"], 6) for row in validation_lines(run)],
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_goes_as_it_did_when_its_curve_was_stored(architecture, tmp_path):
    stored, found = json.loads(STORED.read_text())[architecture], curve(architecture, tmp_path)
    assert len(stored["loss"]) == 30 and stored["loss"][-1] < stored["loss"][0] - 1
    assert found["loss"] == pytest.approx(stored["loss"], abs=1e-3)
    assert found["val_loss"] == pytest.approx(stored["val_loss"], abs=1e-3)
    assert found["grad_norm"] == pytest.approx(stored["grad_norm"], rel=1e-2)


def store() -> None:
    curves = {}
    for architecture in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            curves[architecture] = curve(architecture, Path(folder))
    STORED.write_text(json.dumps(curves, indent=1) + "\n")


if __name__ == "__main__":
    store()
