"""A conversation is not read again for every answer, and no answer is another for it."""

import io
import json
import string
import sys
from itertools import takewhile

import pytest
import torch
from made_judge import CONTEXT, make_judge

import xunlian
from xunlian.cli import main
from xunlian.decoding import conversation
from xunlian.decoding.engine import Engine
from xunlian.interop.huggingface import load_model, write_weights
from xunlian.tokenizer.chat import load_chat

SAMPLED = ["--precision", "fp32", "--max-tokens", "12", "--temperature", "1", "--seed", "3"]
TALK = [
    "one",
    "two",
    "/system Be odd.",  # before all that was said
    "three",
    "/system Be odd, and even.",
    "four",
    "/reset",
    "five",
    "/reset",
    "five",  # the same again
    *(f"message number {i}" for i in range(4)),  # more than the context holds
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model that says letters: read again, they are the tokens that were said."""
    folder = make_judge(tmp_path_factory.mktemp("talker") / "m")
    model, chat = load_model(folder), load_chat(folder)
    letters = [i for letter in string.ascii_letters for i in chat.tokenizer.encode(letter)]
    louder = torch.zeros(len(model.head.weight), 1)
    louder[[*letters, chat.turn_end_id]] = 4.0
    with torch.no_grad():
        model.head.weight.mul_(louder)
    write_weights(folder / "model.safetensors", model)
    return folder


class Reading:
    """One call of `Engine.read`: its texts, how many of their tokens went through the network, and
    what was said after them by one row."""

    def __init__(self, texts):
        self.texts, self.tokens, self.said = texts, 0, []


@pytest.fixture
def readings(monkeypatch):
    found, forward, read, step = [], Engine._forward, Engine.read, Engine.step

    def reading(engine, cache, texts, *rest):
        found.append(Reading([list(text) for text in texts.values()]))
        return read(engine, cache, texts, *rest)

    def forwarding(engine, tokens_BL, *rest):
        found[-1].tokens += tokens_BL.numel()
        return forward(engine, tokens_BL, *rest)

    def stepping(engine, cache, tokens_B):
        before = found[-1].tokens
        logits_BV = step(engine, cache, tokens_B)
        found[-1].tokens = before
        if len(tokens_B) == 1:
            found[-1].said.append(tokens_B.item())
        return logits_BV

    monkeypatch.setattr(Engine, "read", reading)
    monkeypatch.setattr(Engine, "_forward", forwarding)
    monkeypatch.setattr(Engine, "step", stepping)
    return found


def forgetful(patch):
    """Chats read everything anew."""
    patch.setattr(conversation, "for_conversation", lambda model: model)


def shared(one, other):
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def assert_only_what_is_new_was_read(readings):
    """By other means: what one row held is known, and the rest of every text is read, once."""
    held = []
    for reading in readings:
        texts = [list(text) for text in {tuple(text) for text in reading.texts}]
        new = [len(text) - shared(held, text[:-1]) for text in texts]
        assert reading.tokens == sum(new)
        if len(texts) == 1:
            held = texts[0] + (reading.said if len(reading.texts) == 1 else [])


def talked(folder, path, monkeypatch, capsys):
    """What is printed, and what is saved, of a conversation through a pipe."""
    lines = [*TALK, f"/save {path}"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert main(["chat", str(folder), *SAMPLED]) == 0
    out, told = capsys.readouterr()
    assert "turns are forgotten" in told
    return out, json.loads(path.read_text())


def test_answers_are_those_of_a_conversation_that_is_read_anew(
    folder, tmp_path, monkeypatch, capsys, readings
):
    found = talked(folder, tmp_path / "found", monkeypatch, capsys)
    kept = readings.copy()
    readings.clear()
    with monkeypatch.context() as patch:
        forgetful(patch)
        wanted = talked(folder, tmp_path / "wanted", monkeypatch, capsys)
    assert found == wanted and len(set(found[0].split("\n"))) > 6
    assert [reading.texts for reading in kept] == [reading.texts for reading in readings]
    assert all(reading.tokens == len(reading.texts[0]) for reading in readings)
    assert_only_what_is_new_was_read(kept)
    share = [reading.tokens / len(reading.texts[0]) for reading in kept]
    one, two, three, four, five, again, *_ = share
    assert one == 1 and two < 0.6
    assert 0.8 < three < 1 and 0.8 < four < 1  # the system message is another
    assert five < 0.5 and again < 0.05  # it is all that both have; all is the same


def test_a_turn_reads_what_was_said_since_the_answer_before(folder, capsys, readings):
    messages = ["first", "second", "third"]
    options = [option for text in messages for option in ("--message", text)]
    assert main(["chat", str(folder), *options, "--json", *SAMPLED]) == 0
    said, chat = json.loads(capsys.readouterr().out)["messages"], load_chat(folder)
    prompts = [chat.prompt(said[: 2 * turn + 1]) for turn in range(3)]
    assert max(map(len, prompts)) < CONTEXT - 12 and readings[0].tokens == len(prompts[0])
    for turn in (1, 2):
        answer = chat.tokenizer.encode(said[2 * turn - 1]["content"])
        new = len(prompts[turn]) - len(prompts[turn - 1]) - len(answer)
        # Of an answer that was cut off, nothing was read after its last token.
        assert readings[turn].tokens == new + (len(answer) == 12) < len(prompts[turn]) / 2


def test_candidates_and_their_ratings_share_what_was_read(folder, monkeypatch, capsys, readings):
    arguments = ["--rerank", "20", "--message", "one", "--message", "two", "--json"]

    def chosen():
        assert main(["chat", str(folder), *SAMPLED, *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    found = chosen()
    kept = readings.copy()
    with monkeypatch.context() as patch:
        forgetful(patch)
        wanted = chosen()
    assert found["messages"] == wanted["messages"] and len(found["messages"]) == 4
    for ours, theirs in zip(found["candidates"], wanted["candidates"], strict=True):
        assert [c["text"] for c in ours] == [c["text"] for c in theirs] and len(ours) > 5
        for one, other in zip(ours, theirs, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    assert_only_what_is_new_was_read(kept)
    first, rated, second, again = kept
    assert len(first.texts) == len(second.texts) == 20
    assert first.tokens == len(first.texts[0]) and second.tokens < 0.8 * len(second.texts[0])
    for reading, texts in ((rated, first.texts), (again, second.texts)):
        assert reading.tokens == sum(len(text) - len(texts[0]) for text in reading.texts)


def test_from_python_the_answer_is_that_of_the_command(folder, capsys):
    assert main(["chat", str(folder), "--message", "one", "--message", "two", "--json",
                 *SAMPLED]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)["messages"]
    settings = {"precision": "fp32", "max_tokens": 12, "temperature": 1, "seed": 3}
    assert xunlian.chat(folder, said[:3], **settings) == said[3]["content"]
