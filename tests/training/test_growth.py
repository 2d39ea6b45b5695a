"""A network of few blocks, whose others join later, is at every moment what it will be."""

import shutil
from dataclasses import replace

import pytest
import torch
from brief import RATES, train, training_lines, validation_lines
from made_decoder import CONFIGS, PORTABLE
from safetensors.torch import load_file
from test_best_weights import mean_val_loss
from test_parallel import train_alike
from test_resume import assert_same_run

import xunlian
from xunlian.errors import InputError
from xunlian.files import read_json
from xunlian.interop.huggingface import build
from xunlian.models.decoder import Decoder, initialize
from xunlian.recipe.resolve import resolve, shape_of
from xunlian.recipe.settings import Model, Recipe, Training
from xunlian.recipe.size import training_flops_per_token
from xunlian.training.checkpoint import list_checkpoints
from xunlian.training.growth import grow, hold_back, mean_share, places, step_share

GROWING = ["training.grow_from=1", "training.budget=30 steps", "training.decay=0.6"]


def decoder(architecture: str, depth: int = 6) -> Decoder:
    model = build(replace(CONFIGS[architecture], depth=depth))
    assert isinstance(model, Decoder)
    initialize(model, torch.Generator().manual_seed(1))
    return model


def learn(model: Decoder) -> None:
    """Move what has a gradient."""
    tokens = torch.randint(0, model.config.vocab_size, (2, 16), generator=torch.manual_seed(2))
    model(tokens).square().sum().backward()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.grad is not None:
                noise = torch.randn(parameter.shape, generator=torch.manual_seed(number))
                parameter += 0.1 * noise
                parameter.grad = None


def test_the_first_blocks_are_evenly_spread():
    assert places(1, 6) == [0]
    assert places(2, 6) == [0, 3]
    assert places(4, 6) == [0, 1, 3, 4]
    assert places(3, 8) == [0, 2, 5]


@pytest.mark.parametrize("architecture", PORTABLE)
def test_blocks_that_wait_are_the_identity_and_joining_changes_nothing(architecture):
    model = decoder(architecture)
    tokens = torch.randint(0, model.config.vocab_size, (2, 16))
    hold_back(model, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learn(model)
    for name, tensor in model.state_dict().items():
        waits = any(f"blocks.{number}." in name for number in (1, 2, 4, 5))
        assert torch.equal(tensor, before[name]) == (waits or name == "head.weight"), name
    few = model(tokens)
    model.waiting = frozenset()
    assert torch.equal(model(tokens), few)  # what is validated and kept, of all blocks
    hold_back(model, 2)
    grow(model)
    assert torch.equal(model(tokens), few)
    for number, below in ((1, 0), (2, 0), (4, 3), (5, 3)):
        for name, parameter in model.blocks[number].named_parameters():
            source = model.blocks[below].get_parameter(name)
            if ".output." in name:
                assert source.any() and not parameter.any(), name
            else:
                assert torch.equal(parameter, source), name


def test_blocks_wait_until_the_rate_falls_and_learn_then(tiny_corpus, tmp_path):
    run = train(
        tiny_corpus,
        tmp_path / "run",
        *GROWING,
        "training.checkpoint_every=6",
        "training.keep_checkpoints=9",
        "training.validate_every=6",
        "training.log_every=1",
        "training.average_decay=0.5",
        "training.weight_decay=0.5",
    )
    waiting, grown, later = (
        load_file(run.checkpoints / f"step-{step:08}" / "model.safetensors") for step in (6, 12, 18)
    )
    name = "blocks.1.mlp.up.weight"
    assert torch.equal(waiting[name], grown[name])  # decay moves no weight that waits, either
    assert not waiting["blocks.1.mlp.output.weight"].any()
    assert later["blocks.1.mlp.output.weight"].any()
    assert not torch.equal(waiting["blocks.0.mlp.up.weight"], grown["blocks.0.mlp.up.weight"])
    vocab_size = run.facts()["vocab_size"]
    whole = training_flops_per_token(run.recipe.model, shape_of(run.recipe.model), vocab_size)
    share = step_share(run.recipe, vocab_size, whole)
    for row in training_lines(run):
        flops = whole * (share if row["step"] <= 12 else 1)
        assert row["mfu"] == pytest.approx(row["tokens_per_second"] * flops / RATES.fp32)
    rows = validation_lines(run)
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]


def test_transformers_reads_a_network_that_still_grows(tiny_corpus, tmp_path):
    """All of its blocks are in model/, and give the loss that was measured with few."""
    run = train(tiny_corpus, tmp_path / "run", *GROWING, "training.decay=0")
    state = read_json(list_checkpoints(run.checkpoints)[-1] / "state.json")
    assert state["progress"]["grown"] is False
    assert validation_lines(run)[-1]["val_loss"] == pytest.approx(mean_val_loss(run), abs=1e-4)


def test_heads_that_copy_grow_along_and_transformers_reads_them(tiny_corpus, tmp_path):
    settings = ["model.depth=4", "training.grow_from=2", "training.copying_start=true"]
    run = train(tiny_corpus, tmp_path / "run", *settings, "training.budget=20 steps")
    assert run.recipe.training.copying_start
    first, *_, last = training_lines(run)
    assert last["loss"] < first["loss"]
    assert validation_lines(run)[-1]["val_loss"] == pytest.approx(mean_val_loss(run), abs=1e-4)


@pytest.mark.parametrize("kept", [1, 2])
def test_a_resumed_run_ends_bit_identically(tiny_corpus, tmp_path, kept):
    """Before and after it has grown, in step 13."""
    settings = [*GROWING, "training.checkpoint_every=7", "training.keep_checkpoints=9"]
    whole = train(tiny_corpus, tmp_path / "whole", *settings, "model.dropout=0.1")
    resumed = shutil.copytree(whole.path, tmp_path / "resumed")
    for path in list_checkpoints(resumed / "checkpoints")[kept:]:
        shutil.rmtree(path)
    xunlian.train(resumed, resume=True)
    assert_same_run(whole.path, resumed)


def test_two_processes_grow_like_one(tiny_corpus, tmp_path):
    train_alike(tiny_corpus, tmp_path, 30, *GROWING)


def test_what_a_step_costs_on_the_average():
    recipe = resolved(Model(depth=4), Training(grow_from=1, budget="100 steps", decay=0.6))
    shape = shape_of(recipe.model)
    few, whole = (
        training_flops_per_token(recipe.model, replace(shape, depth=depth), 1000)
        for depth in (1, 4)
    )
    share = step_share(recipe, 1000, whole)
    assert share == pytest.approx(few / whole)
    assert mean_share(recipe, 1000, whole) == pytest.approx(0.4 * share + 0.6)
    # A teacher costs what it costs, however many blocks learn.
    assert step_share(recipe, 1000, whole + 1e6) == pytest.approx((few + 1e6) / (whole + 1e6))
    timed = resolved(Model(depth=4), Training(grow_from=1, budget="100s", decay=0.6))
    # In 40 s of 100 there are more steps than a step of the whole network lets one expect.
    assert mean_share(timed, 1000, whole) == pytest.approx(100 / (40 / share + 60))
    plain = resolved(Model(depth=4), Training(budget="100s", grow_from=0))
    assert mean_share(plain, 1000, whole) == 1


def resolved(
    model: Model,
    training: Training,
    *,
    vocab_size: int = 1000,
    corpus_tokens: int = 10**8,
    on_gpu: bool = False,
    **others,
) -> Recipe:
    recipe = Recipe(model=model, training=training, **others)
    return resolve(
        recipe,
        vocab_size=vocab_size,
        corpus_tokens=corpus_tokens,
        matmul_rate=1e11,
        on_gpu=on_gpu,
    )


def test_a_short_training_of_a_deep_enough_network_grows_by_itself():
    deep, short = Model(depth=4), Training(budget="1M tokens")
    training = resolved(deep, short).training
    assert (training.grow_from, training.copying_start) == (2, True)
    timed = resolved(Model(depth=4, width=256), Training(budget="60s")).training
    assert timed.grow_from == 2


@pytest.mark.parametrize(
    ("model", "training", "others"),
    [
        ({"depth": 3}, {}, {}),
        ({"architecture": "llama"}, {}, {}),
        ({"family": "lstm", "depth": 4}, {}, {}),
        ({}, {"grow_from": 0}, {}),
        ({}, {"copying_start": False}, {}),
        ({}, {"bigram_start": True}, {}),
        ({}, {"optimizer": "adamw"}, {}),
        ({}, {"decay": 0.1}, {}),
        ({}, {"budget": "6M tokens"}, {}),
        ({}, {"budget": "10h"}, {}),
        ({}, {}, {"vocab_size": 999}),
        ({}, {}, {"corpus_tokens": 900_000}),  # which are read again
        ({}, {}, {"on_gpu": True}),
        ({}, {}, {"task": "translation"}),
        ({}, {}, {"distill": {"teacher": "runs/teacher"}}),
    ],
)
def test_else_all_blocks_learn_from_the_start(model, training, others):
    training = Training(**{"budget": "1M tokens", **training})
    chosen = resolved(Model(**{"depth": 4, **model}), training, **others).training
    assert (chosen.grow_from, chosen.copying_start) == (0, False)


def test_early_stopping_waits_until_all_blocks_learn(tiny_corpus, tmp_path, capsys):
    stops = ["training.early_stopping=1", "training.validate_every=1"]
    still = [f"training.{rate}learning_rate=1e-30" for rate in ("", "embedding_", "head_", "norm_")]
    run = train(tiny_corpus, tmp_path / "run", *GROWING, *stops, *still)
    assert "Stopped early" in capsys.readouterr().err
    assert [row["step"] for row in validation_lines(run)][-1] == 13  # all learn from step 13 on


@pytest.mark.parametrize(
    ("model", "training", "task", "words"),
    [
        ({"family": "lstm"}, {}, "language-model", "a Transformer"),
        ({"architecture": "speedrun"}, {}, "language-model", "but speedrun"),
        ({}, {}, "translation", "language model"),
        ({"depth": 2}, {"grow_from": 2}, "language-model", "has 2 blocks"),
        ({"depth": 4}, {"bigram_start": True}, "language-model", "bigram_start teaches"),
    ],
)
def test_what_cannot_grow_is_refused(model, training, task, words):
    with pytest.raises(InputError, match=words) as caught:
        resolved(Model(**model), Training(**{"grow_from": 1, **training}), task=task)
    assert "grow_from" in str(caught.value) and "\n" not in str(caught.value)
