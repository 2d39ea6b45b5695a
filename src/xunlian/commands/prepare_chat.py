"""`xunlian prepare --chat --show N`: conversations as they were understood, before any training.

Of preferences (`--preference --show N`) the turns that both sides begin with are shown once.
"""

from collections.abc import Iterator

from xunlian.corpus.chat.formats import Conversation
from xunlian.corpus.chat.preference import SIDES, render_sides, shared_turns
from xunlian.corpus.chat.survey import Read, Survey
from xunlian.tokenizer.chat import LEARNED, Chat, Tokens, learned_texts
from xunlian.tokenizer.ratings import Ratings, rated, rating_text
from xunlian.tokenizer.template import Rendered

_TURN = 300  # characters shown of a turn
_OPEN, _CLOSE = "⟦", "⟧"


def show_chats(found: Survey) -> None:
    """Print the forms that were recognized, and each example: its turns, and what is learned."""
    for name, forms in found.notes.forms.items():
        told = ", ".join(f"{form}: {count:,}" for form, count in forms.items())
        print(f"{name}: {told} {'records' if sum(forms.values()) > 1 else 'record'}")
    print(f"Chat template: {found.chat.template.name}")
    for number, read in enumerate(found.examples, 1):
        print(f"\n── {number}  {read.source}  {read.form}")
        print("\n".join(_example(read, found.chat)))
    print()


def _example(read: Read, chat: Chat) -> Iterator[str]:
    turns = [side.turns for side in read.sides]
    rendered = [chat.rendered(side) for side in turns]
    if len(turns) == 1:
        yield from _turns(turns[0])
        if read.ratings:
            yield f"  {'ratings':<10} {rating_text(read.ratings)}"
        yield from _learned(rendered[0], chat, read.ratings)
        return
    chosen, rejected = turns
    answers = render_sides((chosen, rejected), (rendered[0], rendered[1]))
    shared = shared_turns(chosen, rejected)
    yield from _turns(chosen[:shared])
    for name, side, answer in zip(SIDES, turns, answers, strict=True):
        yield f"  ── {name}"
        yield from _turns(side[shared:])
        yield from _learned(answer, chat)


def _turns(turns: Conversation) -> Iterator[str]:
    for turn in turns:
        text = turn["content"]
        cut = f" ... ({len(text):,} characters)" if len(text) > _TURN else ""
        shown = (text[:_TURN] + cut).replace("\n", "\n" + 13 * " ")
        yield f"  {turn['role']:<10} {shown}"


def _learned(rendered: Rendered, chat: Chat, ratings: Ratings = ()) -> Iterator[str]:
    """The tokens as text, those that carry loss in brackets."""
    (tokens,) = chat.encode([rendered])
    for one in rated(tokens, ratings, chat.tokenizer) if ratings else [tokens]:
        yield from _marked(one, chat)


def _marked(tokens: Tokens, chat: Chat) -> Iterator[str]:
    learned = sum(mark & LEARNED for mark in tokens.marks)
    yield f"  {len(tokens.ids):,} tokens; the loss is of the {learned:,} in {_OPEN}{_CLOSE}:"
    parts = (
        f"{_OPEN}{_short(text)}{_CLOSE}" if is_learned else _short(text)
        for text, is_learned in learned_texts(tokens, chat.tokenizer)
    )
    yield from ("  │ " + line for line in "".join(parts).rstrip("\n").split("\n"))


def _short(text: str) -> str:
    """Without its middle, so that both ends can be seen."""
    half = _TURN // 2
    return text if len(text) <= _TURN else f"{text[:half]} ... {text[-half:]}"
