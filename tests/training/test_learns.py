"""Tiny networks must learn: from raw text to a model that does what the text shows, in seconds.

What can be predicted must be, nearly surely; what is random must not be, or the future leaked.
"""

import itertools
import math
import random

import pytest
import torch
from brief import train, training_lines, transformers_logits
from conftest import SAMPLES
from torch.nn import functional as F

import xunlian
from xunlian.interop.huggingface import load_model
from xunlian.tokenizer.tokenizer import load_tokenizer

ARCHITECTURES, OPTIMIZERS = ["qwen3", "gpt2"], ["muon", "adamw"]
STEPS = {"muon": 120, "adamw": 300}
NEARLY_SURE = {"qwen3": 0.02, "gpt2": 0.2}  # nats; relative positions suit what repeats
LETTERS = "abcdefgh"


def prepared(folder, text: str):
    """A corpus by characters, all of it to train on."""
    (folder / "text.txt").write_text(text, "utf-8")
    corpus = xunlian.prepare(
        folder / "text.txt", out=folder / "corpus", tokenizer="char", val=0, workers=1
    )
    return corpus.path


@pytest.mark.parametrize(
    ("architecture", "optimizer", "steps"),
    [("qwen3", "adamw", 200), ("gpt2", "muon", 100), ("speedrun", "muon", 100)],
)
def test_a_page_is_learned_by_heart(tmp_path, architecture, optimizer, steps):
    """Far below what letters cost without their context: 3 nats, or 1.5 in a large model."""
    page = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:1200]
    run = train(
        prepared(tmp_path, page),
        tmp_path / "run",
        f"training.budget={steps} steps",
        f"model.architecture={architecture}",
        f"training.optimizer={optimizer}",
        "training.log_every=10",
        "model.dropout=0",
        "model.heads=4",
    )
    losses = [row["loss"] for row in training_lines(run)]
    assert losses[0] == pytest.approx(math.log(run.facts()["vocab_size"]), abs=0.1)
    assert losses[-1] < 0.7


@pytest.fixture(scope="module")
def repetitions(tmp_path_factory):
    """Lines such as 'fadfadfadfad': three random letters, then the same ones three times more."""
    chance = random.Random(1)
    words = ("".join(chance.choices(LETTERS, k=3)) for _ in range(3000))
    return prepared(tmp_path_factory.mktemp("repetitions"), "".join(w * 4 + "\n" for w in words))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_repeats_is_predicted_and_what_is_random_is_not(
    repetitions, tmp_path, architecture, optimizer
):
    run = train(
        repetitions,
        tmp_path / "run",
        f"training.budget={STEPS[optimizer]} steps",
        f"model.architecture={architecture}",
        f"training.optimizer={optimizer}",
        "model.heads=4",
        "model.dropout=0",
    )
    tokenizer = load_tokenizer(run.model_folder)
    words = ["".join(word) for word in itertools.product(LETTERS, repeat=3)]
    tokens_BL = torch.tensor([tokenizer.encode("\n" + word * 4) for word in words])
    logits_BLV = transformers_logits(run)(tokens_BL[:, :-1])
    losses_BL = F.cross_entropy(logits_BLV.transpose(1, 2), tokens_BL[:, 1:], reduction="none")
    by_position = losses_BL.mean(0)
    random_part, repeated = by_position[:3], by_position[3:]
    # Over all words no prediction of a random letter is better than ln 8 = 2.08.
    assert random_part.min() >= math.log(8) - 1e-3
    assert random_part.max() < math.log(8) + 0.3
    assert repeated.mean() < NEARLY_SURE[architecture]


def test_words_never_seen_are_written_backwards(tmp_path):
    """'bcda>adcb': a fifth of all words is kept from training and must come out right."""
    words = ["".join(word) for word in itertools.product(LETTERS, repeat=4)]
    chance = random.Random(2)
    chance.shuffle(words)
    unseen, seen = words[:100], words[800:]
    lines = [f"{word}>{word[::-1]}.\n" for word in seen]
    run = train(
        prepared(tmp_path, "".join(lines)),
        tmp_path / "run",
        "training.budget=250 steps",
        "model.heads=4",
        "model.dropout=0",
    )
    model = xunlian.load(run.path, precision="fp32")
    found = model.generate([f"\n{word}>" for word in unseen], max_tokens=4, temperature=0)
    right = sum(text == word[::-1] for word, text in zip(unseen, found, strict=True))
    assert right >= 90, list(zip(unseen, found, strict=True))[:10]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_further_layouts_learn_from_random_weights_and_transformers_opens_them(
    architecture, tiny_corpus, tmp_path
):
    run = train(
        tiny_corpus,
        tmp_path / "run",
        "training.budget=20 steps",
        f"model.architecture={architecture}",
        "model.heads=4",
        "model.kv_heads=2",
        "training.log_every=1",
    )
    losses = [row["loss"] for row in training_lines(run)]
    vocab_size = run.facts()["vocab_size"]
    assert losses[0] == pytest.approx(math.log(vocab_size), abs=0.1)
    assert losses[-1] < losses[0] - 0.5
    ours = load_model(run.model_folder)
    assert ours.config.architecture == architecture
    tokens_BL = torch.randint(vocab_size, (2, 32), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        ours.logits(tokens_BL), transformers_logits(run)(tokens_BL), atol=1e-4, rtol=0
    )
