"""A small model that chats, preferences in its tokens, and a policy that has gone on from it."""

from pathlib import Path

import torch
from brief import train
from conftest import SAMPLES, TINY

import xunlian
from xunlian.interop.huggingface import load_model
from xunlian.runs.initial import start_from
from xunlian.tokenizer.chat import LEARNED
from xunlian.training import decisions
from xunlian.training.parallel import Group

SETTINGS = [*TINY[2:], "task=preference", "model.context=128"]


def start_run(folder: Path) -> Path:
    """A run of a few steps on conversations."""
    corpus = xunlian.prepare(SAMPLES / "chat.en.jsonl", chat=True, out=folder / "chats", val=0)
    settings = ["task=chat", "model.context=128", "training.budget=30 steps"]
    return train(corpus.path, folder / "start", *settings).path


def prepared(folder: Path, start: Path):
    return xunlian.prepare(
        SAMPLES / "preferences.en.jsonl", preference=True, out=folder, tokenizer=start, val=0.1
    )


def resolved(corpus, start, *settings):
    """A recipe with all decisions, and this process."""
    given = [f"model.init_from={start}", *SETTINGS, *settings]
    group = Group(0, 1, torch.device("cpu"))
    recipe, _ = start_from(xunlian.load_recipe(xunlian.Recipe(), given), corpus)
    decided = decisions.decide(
        recipe,
        vocab_size=corpus.vocab_size,
        corpus_tokens=corpus.tokens("train", "chosen"),
        machine=decisions.read_machine(),
        group=group,
    )
    return decided.recipe, group


def policy_of(start):
    """The model that chats, a little changed."""
    model = load_model(start / "model")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def answers_of(corpus, split="train"):
    """For each preference the (token ids, where they are learned) of its two sides."""
    sides = []
    for side in ("chosen", "rejected"):
        tokens, marks = (corpus.stream(split, f"{side}{end}") for end in ("", ".mask"))
        sides.append(
            [
                (
                    torch.from_numpy(tokens.read(start, stop)),
                    torch.from_numpy(marks.read(start, stop) & LEARNED).bool(),
                )
                for start, stop in tokens.spans()
            ]
        )
    return list(zip(*sides, strict=True))


def log_probs_one_by_one(model, corpus, split="train"):
    """(N, 2) summed log-probabilities of all answers in float64, and their tokens: each
    conversation alone, without our loss or packing."""
    sums, counts = [], []
    for preference in answers_of(corpus, split):
        for ids, learned in preference:
            logs = model.logits(ids[None, :-1])[0].double().log_softmax(-1)
            logs = logs.gather(-1, ids[1:, None])[:, 0]
            sums.append(logs[learned[1:]].sum())
            counts.append(int(learned[1:].sum()))
    return torch.stack(sums).view(-1, 2), torch.tensor(counts).view(-1, 2)
