"""`xunlian prepare --chat --show N`: conversations as they were understood, before any training."""

from collections.abc import Iterator

from xunlian.corpus.chat.survey import Read, Survey, encode_reads
from xunlian.tokenizer.chat import LEARNED, Chat, learned_texts
from xunlian.tokenizer.ratings import rating_text

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
        print("\n".join(_turns(read)))
        print("\n".join(_learned(read, found.chat)))
    print()


def _turns(read: Read) -> Iterator[str]:
    for turn in read.turns:
        text = turn["content"]
        cut = f" ... ({len(text):,} characters)" if len(text) > _TURN else ""
        shown = (text[:_TURN] + cut).replace("\n", "\n" + 13 * " ")
        yield f"  {turn['role']:<10} {shown}"
    if read.ratings:
        yield f"  {'ratings':<10} {rating_text(read.ratings)}"


def _learned(read: Read, chat: Chat) -> Iterator[str]:
    """The tokens as text, those that carry loss in brackets."""
    for tokens in encode_reads(chat, [read._replace(rendered=chat.rendered(read.turns))]):
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
