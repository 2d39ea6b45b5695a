"""Training on preferences: packed, compared with a reference, as if they came one by one."""

import json

import numpy as np
import pytest
import torch
from brief import training_lines, validation_lines
from conftest import SAMPLES
from made_preferences import SETTINGS, log_probs_one_by_one, policy_of, resolved
from safetensors.numpy import load_file
from test_resume import assert_same_run

import xunlian
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model
from xunlian.training import objectives, reference, setup
from xunlian.training.checkpoint import list_checkpoints

pytestmark = pytest.mark.usefixtures("no_measuring")


def train(preferences, chat_run, out, *settings):
    return xunlian.train(
        xunlian.Recipe(),
        [f"corpus.path={preferences.path}", f"model.init_from={chat_run}", *SETTINGS, *settings],
        out=out,
    )


def wanted_losses(method, sums, counts, at_start):
    """Of each preference, written as the papers do, in double precision."""
    mean = sums / counts
    if method == "orpo":
        log_odds = mean - torch.log1p(-mean.exp())
        ratio = log_odds[:, 0] - log_odds[:, 1]
        return -mean[:, 0] - 0.1 * ratio.sigmoid().log()
    if method == "dpo":
        margin = 0.1 * ((sums - at_start)[:, 0] - (sums - at_start)[:, 1])
    else:
        margin = 2.0 * (mean[:, 0] - mean[:, 1]) - 1.0
    return -0.9 * margin.sigmoid().log() - 0.1 * (-margin).sigmoid().log()


@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo"])
def test_loss_and_gradients_are_those_of_conversations_one_by_one(method, preferences, chat_run):
    smoothing = "0" if method == "orpo" else "0.1"
    recipe, group = resolved(
        preferences,
        chat_run,
        f"preference.method={method}",
        f"training.label_smoothing={smoothing}",
    )
    model = policy_of(chat_run)
    sums, counts = log_probs_one_by_one(model, preferences)
    with torch.no_grad():
        at_start, _ = log_probs_one_by_one(load_model(chat_run / "model"), preferences)
    wanted = wanted_losses(method, sums, counts, at_start)
    wanted.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    objective = objectives.objective_of(recipe, preferences)
    rows = objective.rows
    assert rows.preferences == len(wanted) and rows.cut == 0
    first = load_model(chat_run / "model")
    reference.compute_reference(objective, first, torch.float32, group)
    np.testing.assert_allclose(rows.reference_N2, at_start, atol=1e-4)
    stepper = setup.build_stepper(recipe, model.train(), group)
    batch = rows.read(0, rows.rows_per_epoch)
    assert int((batch[-1] >= 0).sum()) == len(wanted)
    for micro_rows in (1, rows.rows_per_epoch):
        stepper.micro_rows = micro_rows
        loss = stepper.backward(batch)
        assert loss.item() == pytest.approx(wanted.sum().item(), rel=1e-5)
        for name, parameter in model.named_parameters():
            size = gradients[name].abs().max()
            assert (parameter.grad - gradients[name]).abs().max() < 1e-5 * size, (name, micro_rows)
        model.zero_grad()


@pytest.fixture(scope="module")
def aligned(no_measuring, preferences, chat_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("aligned") / "run"
    return train(
        preferences, chat_run, out, "training.budget=40 steps", "training.learning_rate=0.001",
        "training.validate_every=10", "training.log_every=1",
    )  # fmt: skip


def test_it_begins_where_it_started_and_learns_to_prefer(aligned):
    losses = [line["loss"] for line in training_lines(aligned)]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert losses[-1] < 0.5 * losses[0]
    last = validation_lines(aligned)[-1]
    assert last["val_reward_accuracy"] > 0.7 and last["val_reward_margin"] > 0.1


def test_evaluate_gives_what_the_validation_of_the_training_gave(
    aligned, preferences, chat_run, tmp_path
):
    best = min(validation_lines(aligned), key=lambda line: line["val_loss"])
    found = xunlian.evaluate(aligned.path)
    names = ("loss", "reward_accuracy", "reward_margin")
    assert {name: found["scores"][name] for name in names} == pytest.approx(
        {name: best[f"val_{name}"] for name in names}, rel=1e-4
    )
    # By hand: the best weights against those of the start, one by one.
    with torch.no_grad():
        sums, counts = log_probs_one_by_one(load_model(aligned.model_folder), preferences, "val")
        first, _ = log_probs_one_by_one(load_model(chat_run / "model"), preferences, "val")
    rewards = 0.1 * (sums - first)
    margin = rewards[:, 0] - rewards[:, 1]
    mean = sums / counts
    assert found["scores"] == pytest.approx(
        {
            "loss": float(-margin.sigmoid().log().mean()),
            "reward_accuracy": float((margin > 0).double().mean()),
            "reward_margin": float(margin.mean()),
            "likelihood_accuracy": float((mean[:, 0] > mean[:, 1]).double().mean()),
        },
        rel=1e-4,
    )
    # As files, and without the kept reference, the same preferences score the same.
    held_out = held_out_lines(preferences)
    (tmp_path / "val.jsonl").write_text("".join(held_out), "utf-8")
    again = xunlian.evaluate(aligned.path, tmp_path / "val.jsonl")
    assert again["preferences"] == len(held_out)
    assert again["scores"] == pytest.approx(found["scores"], rel=1e-4)


def held_out_lines(preferences):
    """The lines of the sample that the corpus holds out."""
    from xunlian.tokenizer.chat import load_chat

    chat, stream = load_chat(preferences.path), preferences.stream("val", "chosen")
    texts = {
        chat.tokenizer.backend.decode(stream.read(*span).tolist(), skip_special_tokens=False)
        for span in stream.spans()
    }
    lines = (SAMPLES / "preferences.en.jsonl").read_text("utf-8").splitlines(keepends=True)
    return [
        line
        for line in lines
        for row in [json.loads(line)]
        if chat.rendered(
            [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["chosen"]},
            ]
        ).text
        in texts
    ]


def test_a_model_that_was_not_aligned_has_no_rewards(chat_run, preferences):
    found = xunlian.evaluate(chat_run, preferences.path)
    assert list(found["scores"]) == ["likelihood_accuracy"]


def test_another_start_is_no_reference(aligned, preferences, chat_run, tmp_path):
    (tmp_path / "p.jsonl").write_text("".join(held_out_lines(preferences)), "utf-8")
    other = ["model.init_from=" + str(aligned.path)]
    with pytest.raises(InputError, match=r"is not what .* started from"):
        xunlian.evaluate(aligned.path, tmp_path / "p.jsonl", other)


def test_a_model_without_a_start_is_not_compared_with_one(chat_run, preferences):
    with pytest.raises(InputError, match=r"was not trained with preference.method=dpo"):
        xunlian.evaluate(chat_run, preferences.path, ["task=preference", "preference.method=dpo"])


def test_the_page_and_the_terminal_tell_rewards(aligned, capsys):
    from xunlian.cli import main

    page = aligned.report_file.read_text("utf-8")
    assert "reward accuracy" in page and "reward margin" in page and "perplexity" not in page
    assert "the loss is ln 2" in page
    assert main(["evaluate", str(aligned.path)]) == 0
    assert "* chosen answer has the higher reward" in capsys.readouterr().out
    assert main(["info", str(aligned.path)]) == 0
    assert "rewards" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["adapter.kind=lora", "adapter.rank=4", "training.precision=bf16"],
        ["preference.method=simpo"],
    ],
    ids=["dpo", "dpo with lora in bf16", "simpo"],
)
def test_a_resumed_run_ends_bit_identically(settings, preferences, chat_run, tmp_path):
    fixed = [*settings, "training.checkpoint_every=3", "training.log_every=1",
             "training.keep_checkpoints=9", "training.validate_every=3"]  # fmt: skip
    whole = train(preferences, chat_run, tmp_path / "whole", *fixed, "training.budget=6 steps")
    from xunlian.training.loop import Loop

    class Stop(Exception):
        pass

    written = Loop._checkpoint

    def stop_at_3(self):
        written(self)
        if self.progress.step == 3:
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Loop, "_checkpoint", stop_at_3)
        train(preferences, chat_run, tmp_path / "stopped", *fixed, "training.budget=6 steps")
    xunlian.train(tmp_path / "stopped", resume=True)
    assert_same_run(whole.path, tmp_path / "stopped")


def test_an_adapter_is_compared_with_the_model_without_it(preferences, chat_run, tmp_path):
    run = train(
        preferences, chat_run, tmp_path / "run", "adapter.kind=lora", "adapter.rank=4",
        "training.budget=12 steps", "training.learning_rate=0.003", "training.log_every=1",
    )  # fmt: skip
    with torch.no_grad():
        base, _ = log_probs_one_by_one(load_model(chat_run / "model"), preferences, "val")
    kept = load_file(run.path / "reference.safetensors")
    np.testing.assert_allclose(np.sort(kept["val"], axis=0), np.sort(base, axis=0), atol=1e-3)
    losses = [line["loss"] for line in training_lines(run)]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4) and losses[-1] < losses[0]
    scores = xunlian.evaluate(run.path)["scores"]
    best = min(validation_lines(run), key=lambda line: line["val_loss"])
    assert scores["reward_margin"] == pytest.approx(best["val_reward_margin"], abs=1e-3)
    assert len(list_checkpoints(run.checkpoints)) > 0


@pytest.mark.parametrize("damage", ["missing", "of another corpus"])
def test_a_run_whose_reference_is_lost_does_not_go_on(
    damage, aligned, preferences, chat_run, tmp_path
):
    run = train(preferences, chat_run, tmp_path / "run", "training.budget=2 steps")
    file = run.path / "reference.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        from safetensors.numpy import save_file

        save_file({"train": np.zeros((3, 2), np.float32)}, file)
    with pytest.raises(InputError, match=r"reference.safetensors' (cannot be read|was made of)"):
        xunlian.train(run.path, ["training.budget=4 steps"], resume=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=chat"], r"holds preferences. Say task=preference"),
        (["model.init_from="], r"name one by model.init_from"),
        (["model.context=8"], r"longer than model.context = 8"),
        (["training.neftune_alpha=5"], r"neftune_alpha is for task = chat"),
        (["preference.method=ppo"], r"preference.method"),
        (["preference.beta=0"], r"preference.beta"),
        (["training.label_smoothing=0.5"], r"for the wrong way round"),
        (["training.label_smoothing=0.1", "preference.method=orpo"], r"not for preference.method"),
    ],
)
def test_what_does_not_go_with_preferences_is_refused(
    preferences, chat_run, tmp_path, settings, said
):
    with pytest.raises(InputError, match=said) as error:
        train(preferences, chat_run, tmp_path / "run", *settings)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_the_table_is_for_preferences_alone(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"\[preference\] is for task = preference"):
        xunlian.train(
            xunlian.Recipe(),
            [f"corpus.path={tiny_corpus}", "preference.method=dpo"],
            out=tmp_path / "run",
        )


def test_what_is_too_long_is_told(preferences, chat_run, tmp_path):
    long = {"prompt": "Why?", "chosen": "word " * 400, "rejected": "No."}
    sample = (SAMPLES / "preferences.en.jsonl").read_text("utf-8")
    (tmp_path / "long.jsonl").write_text(sample + json.dumps(long) + "\n", "utf-8")
    made = xunlian.prepare(
        tmp_path / "long.jsonl", preference=True, out=tmp_path / "corpus", tokenizer=chat_run, val=0
    )
    recipe, _ = resolved(made, chat_run)
    notes = objectives.objective_of(recipe, made).notes
    assert "1 preferences are left out: longer than model.context = 128 tokens." in notes


@pytest.mark.slow
def test_two_processes_align_like_one(preferences, chat_run, tmp_path):
    from test_parallel import losses, torchrun

    arguments = [
        f"corpus.path={preferences.path}", f"model.init_from={chat_run}", *SETTINGS,
        "training.budget=6 steps", "training.log_every=1", "training.validate_every=3",
        "training.micro_batch_tokens=256",
    ]  # fmt: skip
    xunlian.train("small", arguments, out=tmp_path / "one")
    done = torchrun("train", "small", *arguments, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / run / "reference.safetensors") for run in ("one", "two"))
    for split in ("train", "val"):
        np.testing.assert_allclose(one[split], two[split], atol=1e-4)
    for wanted, found in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert wanted == pytest.approx(found, abs=1e-4)
