"""What a training decides for a machine is said, written down, and holds for the whole run."""

import time
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from brief import train

import xunlian
from xunlian.errors import InputError
from xunlian.machine.features import read_machine
from xunlian.machine.rates import Rates
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Recipe
from xunlian.training import decisions, setup
from xunlian.training.parallel import Group

BF16_THRICE_AS_FAST = Rates(fp32=1e10, bf16=3e10)


def on_machine(monkeypatch, **facts) -> None:
    """Let training find a machine that differs from this one in `facts`."""
    machine = replace(read_machine(), **facts)
    monkeypatch.setattr(setup, "read_machine", lambda: machine)


def frozen(run) -> dict:
    """The [training] table of the run's recipe.toml."""
    return tomllib.loads((run.path / "recipe.toml").read_text("utf-8"))["training"]


def told(run, capsys, words: str) -> bool:
    """Whether `words` were said while training and stand in run.json."""
    return words in capsys.readouterr().err and words in " ".join(run.facts()["notes"])


NO_COMPILER = ({"compiler": None}, "no C++ compiler was found")
NO_HEADERS = ({"compiler": "g++", "python_headers": False}, "Python.h was not found")
SHORT = ["training.budget=2 steps"]


@pytest.mark.parametrize(("facts", "words"), [NO_COMPILER, NO_HEADERS])
def test_without_a_compiler_training_is_eager_and_says_what_to_install(
    tiny_corpus, tmp_path, monkeypatch, capsys, facts, words
):
    on_machine(monkeypatch, **facts)
    run = train(tiny_corpus, tmp_path / "run", *SHORT, "training.compile=auto")
    assert frozen(run)["compile"] == "off"
    assert run.facts()["finished"]
    assert told(run, capsys, words)


@pytest.mark.parametrize(("facts", "words"), [NO_COMPILER, NO_HEADERS])
def test_compile_on_without_a_compiler_is_refused(tiny_corpus, tmp_path, monkeypatch, facts, words):
    on_machine(monkeypatch, **facts)
    with pytest.raises(InputError, match=r"training\.compile = on") as caught:
        train(tiny_corpus, tmp_path / "run", *SHORT, "training.compile=on")
    assert words in str(caught.value) and "apt install" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_compiler_that_fails_leaves_training_eager(tiny_corpus, tmp_path, monkeypatch, capsys):
    from torch._inductor import config

    on_machine(monkeypatch, compiler="g++", python_headers=True)
    monkeypatch.setattr(config.cpp, "cxx", ("false",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    run = train(tiny_corpus, tmp_path / "run", *SHORT, "training.compile=on")
    assert frozen(run)["compile"] == "off"
    assert run.facts()["finished"]
    assert told(run, capsys, "training goes on without it")
    eager = train(tiny_corpus, tmp_path / "eager", *SHORT, "training.compile=off")
    assert [row["loss"] for row in run.metrics() if "loss" in row] == [
        row["loss"] for row in eager.metrics() if "loss" in row
    ]


def test_compiling_does_not_pay_for_a_short_training(tiny_corpus, tmp_path, monkeypatch, capsys):
    on_machine(monkeypatch, compiler="g++", python_headers=True)
    run = train(tiny_corpus, tmp_path / "run", *SHORT, "training.compile=auto")
    assert frozen(run)["compile"] == "off"
    assert told(run, capsys, "ompiling does not pay")


@pytest.mark.parametrize(
    ("budget", "pays"), [("41 steps", True), ("40 steps", False), ("1h", True), ("40s", False)]
)
def test_compiling_pays_where_45_seconds_of_training_are_left(monkeypatch, budget, pays):
    monkeypatch.setattr(decisions, "_time_micro_batch", lambda *_: 1.0)
    recipe = load_recipe(Recipe(), [f"training.budget={budget}", "training.batch_tokens=4096"])
    clock = decisions.clock_of(recipe, 10**6, time.time())
    machine = replace(read_machine(), compiler="g++", python_headers=True)
    stepper = SimpleNamespace(model=None, group=Group(0, 1, torch.device("cpu")))
    compiled, seconds, reason = decisions.decide_compile(stepper, None, clock, "auto", machine, 1)
    assert compiled == pays and seconds == pytest.approx(1.1)
    assert ("compiling pays within the budget" in reason) == pays


def test_a_training_compiles_by_itself_where_it_pays(tiny_corpus, tmp_path, monkeypatch, capsys):
    on_machine(monkeypatch, compiler="g++", python_headers=True)
    monkeypatch.setattr(decisions, "_time_micro_batch", lambda *_: 100.0)
    monkeypatch.setattr(decisions, "try_compile", lambda stepper, rows: (True, 7.0, ""))
    run = train(tiny_corpus, tmp_path / "run", *SHORT, "training.compile=auto")
    assert frozen(run)["compile"] == "on" and run.facts()["compile_seconds"] == 7
    assert told(run, capsys, "ompiling pays within the budget")


@pytest.mark.parametrize(
    ("features", "rates", "setting", "precision", "words"),
    [
        ((), BF16_THRICE_AS_FAST, "auto", "fp32", "the processor has no bf16 instructions"),
        (("amx_bf16",), Rates(1e10, 1.1e10), "auto", "fp32", "bf16 is only 1.1x as fast"),
        (("amx_bf16",), BF16_THRICE_AS_FAST, "auto", "bf16", "bf16 is 3.0x as fast"),
        (("amx_bf16",), BF16_THRICE_AS_FAST, "fp32", "fp32", "as the recipe says"),
    ],
)
def test_precision_follows_from_the_processor_and_the_measured_rates(
    tiny_corpus, tmp_path, monkeypatch, capsys, features, rates, setting, precision, words
):
    on_machine(monkeypatch, features=features)
    run = train(tiny_corpus, tmp_path / "run", *SHORT, f"training.precision={setting}", rates=rates)
    assert frozen(run)["precision"] == precision
    assert told(run, capsys, words)


def test_every_decision_is_frozen_and_a_resume_decides_nothing_anew(
    tiny_corpus, tmp_path, monkeypatch
):
    on_machine(monkeypatch, features=())
    auto = [f"training.{name}=auto" for name in ("precision", "compile", "attention")]
    run = train(tiny_corpus, tmp_path / "run", *SHORT, *auto, rates=BF16_THRICE_AS_FAST)
    before = frozen(run)
    assert "auto" not in before.values()
    assert before["precision"] == "fp32"

    def decided_again(*_: object) -> None:
        raise AssertionError("a resumed run measures and decides nothing")

    monkeypatch.setattr(decisions, "measure_rates", decided_again)
    monkeypatch.setattr(setup, "read_machine", decided_again)
    resumed = xunlian.train(run.path, ["training.budget=4 steps"], resume=True)
    assert resumed.facts()["step"] == 4
    assert frozen(resumed) == {**before, "budget": "4 steps"}


# Products in 8 bits


def resolved(*settings: str) -> Recipe:
    recipe = load_recipe(Recipe(), ["training.precision=fp8", "training.budget=1 steps", *settings])
    return resolve(
        recipe, vocab_size=100, corpus_tokens=1000, matmul_rate=1e12, on_gpu=True, processes=1
    )


def pretend_gpu(monkeypatch, capability: tuple[int, int]) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    return torch.device("cuda", 0)


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0)])
def test_fp8_is_allowed_on_gpus_that_have_it(monkeypatch, capability):
    decisions.check_fp8(resolved(), pretend_gpu(monkeypatch, capability))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((), "Some GPU has no products in 8 bits"),
        (("model.mlp_width=1000",), "multiples of 16, but model.mlp_width is 1000"),
        (("model.family=lstm",), "Only a transformer"),
    ],
)
def test_fp8_is_refused_where_it_cannot_be_computed(monkeypatch, settings, words):
    with pytest.raises(InputError, match=words) as caught:
        decisions.check_fp8(resolved(*settings), pretend_gpu(monkeypatch, (8, 0)))
    assert "training.precision=fp8" in str(caught.value)


def test_fp8_on_a_cpu_is_refused_in_one_line(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"NVIDIA GPU.*Leave training\.precision=fp8 out"):
        train(tiny_corpus, tmp_path / "run", *SHORT, "training.precision=fp8")
    assert not (tmp_path / "run").exists()


def test_validations_take_a_small_share_and_a_single_one_is_the_last():
    settings = ["training.budget=100 steps", "training.batch_tokens=4096"]
    recipe = load_recipe(Recipe(), settings)
    clock = decisions.clock_of(recipe, 10**6, 0.0)

    def every(val_tokens: int) -> int:
        found = decisions.cadence(recipe, clock, 1.0, val_tokens).training.validate_every
        assert found is not None
        return found

    assert every(4096) == 8  # twelve of them, each a third of a step
    assert every(10) == 5
    assert every(10**6) > 100  # only when training ends


# Several processes


def test_every_process_decides_by_the_rates_that_the_lead_measured(monkeypatch):
    told: list[float] = []

    def from_lead(self: Group, *values: float) -> list[float]:
        if self.leads:
            told[:] = values
        return told[:]

    monkeypatch.setattr(Group, "from_lead", from_lead)
    settings = ["model.depth=2", "model.width=64", "training.budget=60s", "training.threads=1"]
    recipe = load_recipe(Recipe(), settings)

    def decided(rank: int, rates: Rates) -> decisions.Decided:
        monkeypatch.setattr(decisions, "measure_rates", lambda device: rates)
        return decisions.decide(
            recipe,
            vocab_size=100,
            corpus_tokens=10**6,
            machine=read_machine(),
            group=Group(rank, 2, torch.device("cpu")),
        )

    fast, slow = Rates(1e12, 1e12), Rates(1e10, 1e10)
    lead = decided(0, fast)
    assert lead.rates == fast and decided(1, slow) == lead
    smaller = decided(0, slow).recipe.training.batch_tokens  # so the rates do matter
    assert smaller < lead.recipe.training.batch_tokens


def test_the_rows_of_a_step_are_shared_evenly_or_not_at_all():
    recipe = load_recipe(Recipe(), ["training.batch_tokens=1024", "model.context=32"])
    decisions.check_shares(recipe, Group(0, 4, torch.device("cpu")))
    with pytest.raises(InputError, match="has 32 rows, which 3 processes cannot share"):
        decisions.check_shares(recipe, Group(0, 3, torch.device("cpu")))
