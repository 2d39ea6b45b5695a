"""Trainings of a tiny network, for several tests: no time is spent on measuring the machine."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from conftest import SAMPLES, TINY
from torch import Tensor

import xunlian
from xunlian.machine.rates import Rates
from xunlian.runs.folder import Run
from xunlian.training import decisions

RATES = Rates(fp32=5e10, bf16=1e11)


def short_corpus(folder: Path) -> Path:
    """A corpus so small that it is soon known by heart, and a validation text that it is not."""
    shakespeare = (SAMPLES / "shakespeare.txt").read_text("utf-8")
    (folder / "train.txt").write_text(shakespeare[:1500], "utf-8")
    (folder / "val.txt").write_text(shakespeare[50_000:52_000], "utf-8")
    xunlian.prepare(
        folder / "train.txt", out=folder / "corpus", val=folder / "val.txt", tokenizer="char"
    )
    return folder / "corpus"


def train(corpus: Path, out: Path, *settings: str, rates: Rates = RATES) -> Run:
    """A finished run of `settings` in the folder `out`."""
    with mock.patch.object(decisions, "measure_rates", lambda device: rates):
        return xunlian.train(xunlian.Recipe(), [f"corpus.path={corpus}", *TINY, *settings], out=out)


def training_lines(run: Run) -> list[dict]:
    return [row for row in run.metrics() if "loss" in row]


def validation_lines(run: Run) -> list[dict]:
    return [row for row in run.metrics() if "val_loss" in row]


def transformers_logits(run: Run) -> Callable[[Tensor], Tensor]:
    """What Transformers computes from model/: tokens (B, L) -> logits (B, L, V)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(run.model_folder).eval()

    def logits(tokens_BL: Tensor) -> Tensor:
        with torch.no_grad():
            return model(tokens_BL).logits.float()

    return logits
