"""Trainings of a tiny network, for several tests: no time is spent on measuring the machine."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from conftest import TINY
from torch import Tensor

import xunlian
from xunlian.machine.rates import Rates
from xunlian.runs.folder import Run
from xunlian.training import decisions

RATES = Rates(fp32=5e10, bf16=1e11)


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
