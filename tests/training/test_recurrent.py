"""Training recurrent networks: they learn, go on bit-identically, and on two processes alike."""

import itertools
import math
import random
import shutil

import pytest
import torch
from brief import train, training_lines, validation_lines
from conftest import TINY
from made_recurrent import FAMILIES
from safetensors.torch import load_file
from test_parallel import losses, torchrun
from test_resume import assert_same_run

import xunlian
from xunlian.runs.load import load_run
from xunlian.shards.corpus import open_corpus
from xunlian.training.checkpoint import list_checkpoints
from xunlian.training.step import CARRIED

LETTERS = "abcdefgh"
STEPS = [
    "training.checkpoint_every=7",
    "training.keep_checkpoints=9",
    "training.validate_every=10",
    "training.log_every=5",
]


@pytest.fixture(scope="module")
def reversals(tmp_path_factory):
    """Words and the same words backwards; words of the validation text are not trained on."""
    folder = tmp_path_factory.mktemp("reversals")
    words = ["".join(word) for n in (2, 3, 4) for word in itertools.product(LETTERS, repeat=n)]
    random.Random(2).shuffle(words)
    for name, part in (("val", words[:100]), ("train", words[100:2500])):
        sides = [" ".join(word) for word in part], [" ".join(word[::-1]) for word in part]
        for side, lines in zip(("source", "target"), sides, strict=True):
            (folder / f"{name}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return xunlian.prepare(
        *(folder / f"train.{side}" for side in ("source", "target")),
        val=[folder / f"val.{side}" for side in ("source", "target")],
        out=folder / "corpus",
        pairs=True,
        tokenizer="char",
    ).path


@pytest.mark.parametrize("family", FAMILIES)
def test_a_language_model_learns_and_writes(tiny_corpus, tmp_path, family):
    run = train(tiny_corpus, tmp_path / "run", f"model.family={family}", "training.budget=60 steps")
    found = [row["loss"] for row in training_lines(run)]
    assert found[0] == pytest.approx(math.log(run.facts()["vocab_size"]), abs=0.1)
    assert validation_lines(run)[-1]["val_loss"] < 2.6
    text = xunlian.generate(run.path, "KING", max_tokens=50, temperature=0, precision="fp32")
    assert len(text) == 50


@pytest.mark.parametrize("pairs", [False, True])
def test_a_run_that_goes_on_is_bit_identical(tiny_corpus, reversals, tmp_path, pairs):
    corpus = reversals if pairs else tiny_corpus
    settings = ["model.family=lstm", "model.dropout=0.1", *STEPS]
    if pairs:
        settings.append("task=translation")
    train(corpus, tmp_path / "whole", *settings, "training.budget=30 steps")
    # As if it had been killed after the second checkpoint.
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for path in list_checkpoints(tmp_path / "killed" / "checkpoints")[2:]:
        shutil.rmtree(path)
    xunlian.train(tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_two_processes_train_a_language_model_like_one(tiny_corpus, tmp_path):
    alike(tiny_corpus, tmp_path, [])
    # What the lanes remember when two processes end, those of the second one, too.
    one, two = (
        load_file(tmp_path / run / "checkpoints/step-00000016/optimizer.safetensors")[CARRIED]
        for run in ("one", "two")
    )
    torch.testing.assert_close(one, two, atol=0.01, rtol=0)


@pytest.mark.slow
def test_two_processes_train_on_pairs_like_one(reversals, tmp_path):
    alike(reversals, tmp_path, ["task=translation"])


def alike(corpus, folder, settings):
    arguments = [
        f"corpus.path={corpus}", *TINY, "model.family=gru", "model.dropout=0",
        "training.budget=16 steps", "training.log_every=1", "training.validate_every=8",
        "training.checkpoint_every=10", "training.micro_batch_tokens=128", *settings,
    ]  # fmt: skip
    xunlian.train(xunlian.Recipe(), arguments, out=folder / "one")
    recipe = folder / "recipe.toml"
    recipe.write_text("")
    done = torchrun("train", recipe, *arguments, "--out", folder / "two")
    assert done.returncode == 0, done.stderr
    for one, two in zip(losses(folder / "one"), losses(folder / "two"), strict=True):
        assert one == pytest.approx(two, abs=1e-4)
    for run in ("one", "two"):
        xunlian.train(folder / run, ["training.budget=20 steps"], resume=True)
    for one, two in zip(losses(folder / "one"), losses(folder / "two"), strict=True):
        assert one == pytest.approx(two, abs=1e-3)
    assert len(losses(folder / "two")[0]) == 20


def test_the_validation_loss_is_that_of_the_text_read_on_and_on(tiny_corpus, tmp_path):
    run = train(
        tiny_corpus, tmp_path / "run", "model.family=gru", "training.budget=20 steps",
        "training.validate_every=20",
    )  # fmt: skip
    model = load_run(run.path).model
    stream = open_corpus(tiny_corpus).stream("val")
    tokens = torch.from_numpy(stream.read(0, len(stream)))
    with torch.no_grad():
        log_p = model.logits(tokens[None, :-1])[0].log_softmax(-1)
    whole = -log_p.gather(1, tokens[1:, None]).mean().item()
    # It forgets within a window what it read before: lanes make no difference.
    assert validation_lines(run)[-1]["val_loss"] == pytest.approx(whole, abs=1e-3)


def test_an_lstm_learns_to_write_words_backwards(reversals, tmp_path):
    run = train(
        reversals, tmp_path / "run", "task=translation", "model.family=lstm", "model.depth=1",
        "training.budget=150 steps", "training.batch_tokens=1024", "model.dropout=0",
    )  # fmt: skip
    corpus = open_corpus(reversals)
    tokenizer = load_run(run.path).tokenizer
    source, target = (corpus.stream("val", column) for column in ("source", "target"))
    texts, wanted = (
        [tokenizer.decode(side.read(start, stop)).strip() for start, stop in side.spans()]
        for side in (source, target)
    )
    found = xunlian.load(run.path, precision="fp32").translate(texts, beam=2)
    right = sum(text.strip() == answer for text, answer in zip(found, wanted, strict=True))
    assert right >= 90, list(zip(texts, found, strict=True))[:10]
