"""What the records of a file are: conversations, or preferences, of which each is two of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import FORMATS, Conversation, conversations_of
from xunlian.corpus.chat.preference import (
    PREFERENCE_FORMATS,
    SIDES,
    Sides,
    clean_sides,
    preferences_of,
    render_sides,
)
from xunlian.shards.corpus import MASK
from xunlian.tokenizer.template import Rendered

Render = Callable[[Conversation], Rendered]


class Side(NamedTuple):
    """A conversation as it is learned, and as text."""

    turns: Conversation
    rendered: Rendered


@dataclass(frozen=True)
class Kind:
    """What the records of a task are.

    Attributes:
        what: what they are called.
        formats: the known ones.
        columns: of a corpus, tokens and marks of each side.
        parse: a record to its form's name and what is to learn.
        learn: that, with what counts changes, to the sides; raises Broken or TemplateError.
    """

    task: str
    what: str
    formats: str
    columns: tuple[tuple[str | None, str], ...]
    parse: Callable[[Any], tuple[str, list[Any]]]
    learn: Callable[[Any, Counter[str], Render], tuple[Side, ...]]


def _learn_conversation(
    turns: Conversation, changes: Counter[str], render: Render
) -> tuple[Side, ...]:
    cleaned = clean_conversation(turns, changes)
    return (Side(cleaned, render(cleaned)),)


def _learn_preference(sides: Sides, changes: Counter[str], render: Render) -> tuple[Side, ...]:
    chosen, rejected = clean_sides(sides, changes)
    rendered = render_sides((chosen, rejected), (render(chosen), render(rejected)))
    return Side(chosen, rendered[0]), Side(rejected, rendered[1])


CHATS = Kind(
    "chat", "conversations", FORMATS, ((None, MASK),), conversations_of, _learn_conversation
)
PREFERENCES = Kind(
    "preference",
    "preferences",
    PREFERENCE_FORMATS,
    tuple((side, f"{side}.{MASK}") for side in SIDES),
    preferences_of,
    _learn_preference,
)


def kind_of(task: str) -> Kind:
    return PREFERENCES if task == PREFERENCES.task else CHATS
