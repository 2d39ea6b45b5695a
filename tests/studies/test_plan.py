"""A plan: what it says about this machine is what training then does; cards are arithmetic."""

import json

import pytest
from brief import RATES, train
from conftest import TINY
from made_preferences import SETTINGS

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.machine.accelerators import parse_accelerator
from xunlian.studies import child, plan, scaling
from xunlian.studies.plan import advice, plan_for_card
from xunlian.studies.scaling import extrapolate
from xunlian.studies.trial import Trial
from xunlian.training import decisions

LARGE = [
    "model.depth=12",
    "model.width=1024",
    "model.context=1024",
    "tokenizer.vocab_size=50000",
    "training.budget=2B tokens",
    "training.batch_tokens=524288",
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(decisions, "measure_rates", lambda device: RATES)


def test_a_plan_says_what_training_then_does_and_leaves_nothing(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["training.budget=3 epochs"]
    (plan,) = xunlian.plan(
        xunlian.Recipe(), [f"corpus.path={tiny_corpus}", *TINY, *settings], price=36.0
    )
    assert list(tmp_path.iterdir()) == []
    facts = train(tiny_corpus, tmp_path / "run", *settings).facts()
    assert plan["steps"] == facts["step"] and plan["tokens"] == facts["tokens"]
    assert plan["parameters"] == facts["parameters"]
    for part in ("weights", "optimizer state"):
        assert plan["memory"][part] == facts["memory_predicted"][part]
    assert plan["epochs"] == pytest.approx(3, rel=0.01)
    assert plan["seconds"] >= plan["steps"] * plan["step_seconds"] > 0
    assert plan["cost"] == pytest.approx(plan["seconds"] / 100)


def test_a_budget_in_time_is_turned_into_steps(tiny_corpus):
    """Start-up counts: 300 seconds are gone when the plan begins."""
    import time

    recipe, settings = xunlian.Recipe(), [f"corpus.path={tiny_corpus}", *TINY]
    settings.append("training.budget=600s")
    (plan,) = xunlian.plan(recipe, settings, started=time.time() - 300)
    assert 300 < plan["setup_seconds"] < 600
    step_and_validation = plan["step_seconds"] + plan["validation_seconds"]
    assert plan["seconds"] == pytest.approx(600, abs=step_and_validation)
    assert plan["steps"] * plan["step_seconds"] < 300


def test_a_card_is_planned_for_by_its_data_sheet(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = xunlian.Recipe()
    one, eight = xunlian.plan(recipe, LARGE, gpu=["h100", "H100:8"], price=2.0)
    # 6 FLOPs a parameter that tokens meet, and half of a square of attention in 12 layers.
    blocks = 12 * 4 * 1024**2
    mlp = 3 * 1024 * 2752
    flops = 6 * (blocks + 12 * mlp + 50_000 * 1024) + 6 * 12 * 1024 * 1024
    assert one["flops"] == pytest.approx(one["tokens"] * flops, rel=0.01)
    assert one["seconds"] == pytest.approx(one["tokens"] * flops / (0.45 * 989e12), rel=0.01)
    assert eight["seconds"] == pytest.approx(one["seconds"] / 8, rel=0.01)
    assert one["cost"] == pytest.approx(2 * one["seconds"] / 3600)
    assert eight["cost"] == pytest.approx(one["cost"], rel=0.01)
    assert one["fits"] and one["corpus_tokens"] is None and one["epochs"] is None


def test_a_card_is_planned_for_in_bf16_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (plan,) = xunlian.plan(xunlian.Recipe(), [*LARGE, "training.precision=fp32"], gpu=["h100"])
    assert plan["precision"] == "bf16"
    assert "Cards are planned for in bf16" in capsys.readouterr().err


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (plan,) = xunlian.plan(xunlian.Recipe(), [*LARGE, "model.width=4096"], gpu=["rtx3090"])
    assert not plan["fits"] and plan["micro_batch_tokens"] == 1024
    (said,) = (line for line in plan["advice"] if "does not fit on rtx3090" in line)
    assert said.endswith("Take a smaller model.size or model.context.")


def test_micro_batches_of_a_card_fit_unless_a_size_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large, small = xunlian.plan(xunlian.Recipe(), LARGE, gpu=["h200", "rtx3090"])
    assert large["micro_batch_tokens"] == 65_536 and large["fits"]
    assert 1024 <= small["micro_batch_tokens"] < 65_536 and small["fits"]
    assert sum(small["memory"].values()) <= 24e9
    twice = f"training.micro_batch_tokens={2 * small['micro_batch_tokens']}"
    (asked,) = xunlian.plan(xunlian.Recipe(), [*LARGE, twice], gpu=["rtx3090"])
    assert not asked["fits"]
    assert any("Take a smaller training.micro_batch_tokens." in line for line in asked["advice"])


def test_advice_compares_the_budget_with_the_corpus_and_the_size():
    plan = {
        "corpus_tokens": 1_000_000,
        "epochs": 40.0,
        "optimal_tokens": 200_000_000,
        "parameters": 10_000_000,
        "flops": 6.0 * 10e6 * 200e6,  # just what 10M parameters are worth
    }
    said = advice(plan)
    assert len(said) == 2 and "40 times" in said[0] and "200M tokens" in said[1]
    assert advice({**plan, "corpus_tokens": 200_000_000, "epochs": 1.0}) == []
    (size,) = advice({**plan, "corpus_tokens": None, "epochs": None, "flops": 6 * 4e8 * 20 * 4e8})
    assert "about 400M parameters" in size and "model.size=400m" in size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small", "--gpu", "h10"], "accelerator 'h10'. Did you mean 'h100'?"),
        (["small", "--gpu", "h100:x"], "'h100:x' names no number of cards"),
        (["small", "--gpu", "h100", "--price", "-1"], "a price is not negative"),
        (["small"], "names no corpus"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors and len(errors.strip().splitlines()) == 1


def test_json_and_text_tell_the_same(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "small", *LARGE, "--gpu", "a100", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert main(["plan", "small", *LARGE, "--gpu", "a100"]) == 0
    text = capsys.readouterr().out
    assert f"{plan['steps']:,} steps" in text and "1 x a100" in text


def test_a_card_may_be_counted():
    name, card, count = parse_accelerator("A100:4")
    assert (name, card.bf16, count) == ("a100", 312e12, 4)
    with pytest.raises(InputError):
        parse_accelerator("h100:0")


def test_the_forecast_trains_three_parts_and_stands_between_two_laws(
    tiny_corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    trained = []

    def train_here(arguments):
        trained.append(arguments)
        child.raise_for(main(["train", *arguments]), arguments)

    monkeypatch.setattr(child, "train_in_child", train_here)
    monkeypatch.setattr(scaling, "FEWEST_STEPS", 2)
    settings = [f"corpus.path={tiny_corpus}", *TINY, "training.budget=64 steps"]
    (plan,) = xunlian.plan(xunlian.Recipe(), settings, fit=True)
    forecast = plan["forecast"]
    assert forecast["tokens"] == [1024, 2048, 4096]
    assert forecast["loss"] < forecast["losses"][-1] < forecast["losses"][0]
    assert forecast["error"] > 0
    with pytest.raises(InputError, match=r"model.width = 64, not 96.*remove the folder"):
        xunlian.plan(xunlian.Recipe(), [*settings, "model.width=96"], fit=True)
    # The same call keeps what is there.
    assert xunlian.plan(xunlian.Recipe(), settings, fit=True)[0]["forecast"] == forecast
    assert len(trained) == 3


def test_extrapolation_is_exact_for_both_laws():
    power = tuple(6.0 * 2.0 ** (-0.1 * k) for k in range(3))
    found = extrapolate(power, 3)  # no floor: both laws say the same
    assert found.loss == pytest.approx(6.0 * 2.0**-0.5)
    assert found.error == pytest.approx((power[-1] - found.loss) / 2)
    floored = tuple(2.0 + 3.0 * 2.0 ** (-0.5 * k) for k in range(3))
    found = extrapolate(floored, 3)
    laws = 2.0 + 3.0 * 2.0**-2.5, floored[2] * (floored[2] / floored[0]) ** 1.5
    assert found.loss == pytest.approx(sum(laws) / 2)
    assert found.error >= abs(laws[0] - laws[1]) / 2


def test_losses_that_do_not_fall_give_the_last_one_and_a_wide_error():
    found = extrapolate((3.0, 3.1, 3.05), 3)
    assert found.loss == 3.05 and found.error == pytest.approx(0.15)


def test_a_short_training_is_not_forecast(tiny_corpus, capsys):
    settings = [f"corpus.path={tiny_corpus}", *TINY, "training.budget=64 steps"]
    assert main(["plan", "small", *settings, "--fit"]) == 2
    assert "short enough to try" in capsys.readouterr().err.splitlines()[-1]


def test_a_forecast_without_held_out_text_is_refused_before_anything_is_tried(
    tiny_text, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "set_up", lambda *_: pytest.fail("it was tried"))
    corpus = xunlian.prepare(tiny_text, out="corpus", tokenizer="char", val=0)
    settings = [f"corpus.path={corpus.path}", *TINY, "training.budget=6400 steps"]
    with pytest.raises(InputError, match="--fit needs text to validate on"):
        xunlian.plan(xunlian.Recipe(), settings, fit=True)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_plan_has_no_advice_on_the_size_of_the_model_it_starts_from(monkeypatch):
    monkeypatch.setattr(plan, "shape_from_folder", lambda recipe: recipe)
    recipe = xunlian.Recipe.model_validate(
        {
            "model": {"size": "124m", "init_from": "base"},
            "training": {"budget": "10M tokens"},
            "adapter": {},
        }
    )
    whole = recipe.model_copy(update={"adapter": None})
    adapted, full = (plan_for_card(r, "h100", 32_000, 10**6) for r in (recipe, whole))
    for each in (adapted, full):
        assert advice(each) and not any("parameters" in line for line in advice(each))
    assert adapted["flops"] < 0.75 * full["flops"]
    assert adapted["memory"]["weights"] < 0.6 * full["memory"]["weights"]
    assert adapted["memory"]["optimizer state"] < 0.1 * full["memory"]["optimizer state"]


def test_a_plan_knows_frozen_matrices_in_few_bits(monkeypatch):
    monkeypatch.setattr(plan, "shape_from_folder", lambda recipe: recipe)
    weights = {}
    for frozen in (None, "int8", "nf4"):
        recipe = xunlian.Recipe.model_validate(
            {
                "model": {"size": "8b", "init_from": "base"},
                "training": {"budget": "10M tokens"},
                "adapter": {"frozen": frozen},
            }
        )
        weights[frozen] = plan_for_card(recipe, "h100", 32_000, 10**6)["memory"]["weights"]
    assert weights["nf4"] < 0.6 * weights["int8"] < 0.36 * weights[None]


def test_a_plan_for_a_card_counts_both_answers_of_a_preference(monkeypatch):
    monkeypatch.setattr(plan, "shape_from_folder", lambda recipe: recipe)
    one, two = (
        plan_for_card(
            xunlian.Recipe.model_validate(
                {
                    "task": task,
                    "model": {"size": "124m", "init_from": "base"},
                    "training": {"budget": "10M tokens", "optimizer": "adamw"},
                }
            ),
            "h100",
            32_000,
            10**6,
        )
        for task in ("chat", "preference")
    )
    for name in ("step_seconds", "seconds", "tokens", "flops"):
        assert two[name] == pytest.approx(2 * one[name])
    assert two["memory"]["activations"] == pytest.approx(2 * one["memory"]["activations"])
    for name in ("steps", "epochs", "parameters"):
        assert two[name] == one[name]


def test_a_plan_for_a_card_has_the_rows_of_the_model_it_starts_from(
    tiny_text, tmp_path, monkeypatch
):
    pytest.importorskip("transformers")
    from made_folder import save_folder

    monkeypatch.chdir(tmp_path)
    theirs = save_folder(tmp_path / "folder", "qwen3")  # 448 rows for 400 tokens
    corpus = xunlian.prepare(tiny_text, out="corpus", tokenizer=tmp_path / "folder", val=0.1)
    assert corpus.vocab_size == 400
    for settings in ([], [f"corpus.path={corpus.path}"]):
        (found,) = xunlian.plan(
            xunlian.Recipe(), [f"model.init_from={tmp_path / 'folder'}", *settings], gpu=["h100"]
        )
        assert found["vocab_size"] == 448
        assert found["parameters"] == sum(p.numel() for p in theirs.parameters())


def test_a_plan_counts_the_pass_over_all_preferences_that_dpo_begins_with(
    preferences, chat_run, monkeypatch
):
    monkeypatch.setattr(plan, "try_out", lambda *_: Trial(900.0, 60.0, None))
    settings = [f"corpus.path={preferences.path}", f"model.init_from={chat_run}", *SETTINGS]

    def planned(method):
        return xunlian.plan(xunlian.Recipe(), [*settings, f"preference.method={method}"])[0]

    dpo, orpo = planned("dpo"), planned("orpo")
    steps = dpo["steps"] / dpo["epochs"]  # of one epoch; without a way back each takes a third
    more = dpo["setup_seconds"] - orpo["setup_seconds"]
    assert more == pytest.approx(300 * steps + 60, abs=30)
