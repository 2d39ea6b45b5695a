"""A record with a better and a worse answer, in the forms of the wild, to two conversations.

What is known, each with the usual other names of its fields:

- a prompt and two answers: `{"prompt": "...", "chosen": "...", "rejected": "..."}`, each a text, a
  message or a list of messages; also with `question`, `instruction` and `input`, or `conversations`
- two lists of messages that begin alike: `{"chosen": [...], "rejected": [...]}`, where a `prompt`
  that says it again is passed over
- two dialogues in one text each, as HH-RLHF has them: "\\n\\nHuman: ...\\n\\nAssistant: ..."

The two become whole conversations. What they have in common is the prompt; only what the assistant
says after it is learned.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import (
    ASKED,
    TURNS,
    Broken,
    Conversation,
    Unknown,
    first_of,
    is_messages,
    message,
    prompt_of,
    system_of,
    turns_of,
    with_system,
)
from xunlian.tokenizer.template import Rendered, TemplateError

SIDES = ("chosen", "rejected")
PREFERENCE_FORMATS = (
    "prompt / chosen / rejected (texts or messages), conversations / chosen / rejected, "
    "chosen / rejected as lists of messages that begin alike, and as dialogues of Human: and "
    "Assistant:"
)
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")

Sides = tuple[Conversation, Conversation]
"""The conversation with the better answer, and the one with the worse."""


def preferences_of(record: Any) -> tuple[str, list[Sides]]:
    """(the form's name, the two conversations of a record).

    Raises:
        Unknown: it has none of the known forms.
        Broken: a turn is not text, or of nobody known.
    """
    if not (isinstance(record, dict) and all(side in record for side in SIDES)):
        raise Unknown
    system = system_of(record)
    found = [_said(record[side], side) for side in SIDES]
    if all(whole for whole, _ in found):
        name = "dialogues of Human and Assistant"
        if not isinstance(record[SIDES[0]], str):
            name = "chosen and rejected messages"
        prompt: Conversation = []
    else:
        name, prompt = _prompt(record)
    chosen, rejected = (
        with_system(system, turns if whole else [*prompt, *turns]) for whole, turns in found
    )
    return name, [(chosen, rejected)]


def _said(value: Any, side: str) -> tuple[bool, Conversation]:
    """What stands on a side, and whether it is the whole conversation."""
    if isinstance(value, dict):
        value = [value]
    if is_messages(value):
        turns = turns_of(value)[1]
        return turns[0]["role"] != "assistant", turns
    if not isinstance(value, str | None):
        raise Unknown
    if value and _SPEAKER.match(value):
        return True, _dialogue(value)
    return False, [message("assistant", value, side)]


def _prompt(record: Mapping[str, Any]) -> tuple[str, Conversation]:
    key = next((key for key in TURNS if isinstance(record.get(key), list)), None)
    if key:
        return f"{key}, chosen and rejected", turns_of(record[key])[1]
    key = first_of(record, ASKED)
    if key is None:
        raise Unknown
    name = f"{key}, chosen and rejected"
    asked = record[key]
    if isinstance(asked, str) and _SPEAKER.match(asked):
        turns = _dialogue(asked)
        return name, turns[:-1] if not turns[-1]["content"].strip() else turns
    return name, prompt_of(record, key)


def _dialogue(text: str) -> Conversation:
    """The turns of '\\n\\nHuman: ...\\n\\nAssistant: ...'."""
    _, *parts = _SPEAKER.split(text)
    return [
        {"role": "user" if who == "Human" else "assistant", "content": said}
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def clean_sides(sides: Sides, changes: Counter[str]) -> Sides:
    """The cleaned conversations. What changed is added to `changes`.

    Raises:
        Broken: one of them is (corpus/chat/clean.py), they are equal, or they differ before the
            assistant speaks.
    """
    cleaned = []
    for side, turns in zip(SIDES, sides, strict=True):
        try:
            cleaned.append(clean_conversation(turns, changes))
        except Broken as error:
            raise Broken(f"{side}: {error}") from error
    chosen, rejected = cleaned
    if chosen == rejected:
        raise Broken("its two sides are equal")
    shared = shared_turns(chosen, rejected)
    if shared in map(len, cleaned):
        raise Broken("one side is the beginning of the other")
    if any(turns[shared]["role"] != "assistant" for turns in cleaned):
        raise Broken(f"its sides differ in turn {shared + 1}, where the assistant does not speak")
    return chosen, rejected


def render_sides(sides: Sides, rendered: tuple[Rendered, Rendered]) -> tuple[Rendered, Rendered]:
    """`rendered`, but learned is only what follows the turns that both sides begin with.

    Raises:
        TemplateError: the template writes these turns in two ways.
    """
    before = sum(turn["role"] == "assistant" for turn in sides[0][: shared_turns(*sides)])
    prompts = set()
    found = []
    for one in rendered:
        answers = one.learned[before:]
        if not answers:
            raise TemplateError("it writes no answer")
        start = answers[0][0]
        prompts.add(one.text[:start])
        cuts = tuple(cut for cut in one.cuts if cut < start)
        found.append(replace(one, learned=answers, cuts=cuts))
    if len(prompts) > 1:
        raise TemplateError("it writes the turns that both sides begin with in two ways")
    chosen, rejected = found
    return chosen, rejected


def shared_turns(chosen: Conversation, rejected: Conversation) -> int:
    """How many turns both begin with."""
    pairs = zip(chosen, rejected, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
