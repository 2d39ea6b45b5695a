"""What the assistant says next in a conversation.

What must not be too long is cut by whole turns, oldest first, and never silently. A session that
goes on has an engine of its own, which reads only what is new (conversation.py).
"""

from collections.abc import Iterator, Sequence

from xunlian.decoding.generate import generate_texts
from xunlian.decoding.model import LoadedModel, check_rows
from xunlian.errors import InputError
from xunlian.recipe.settings import Decoding
from xunlian.tokenizer.chat import Chat
from xunlian.tokenizer.template import Message, TemplateError


def reply(model: LoadedModel, chat: Chat, tokens: list[int], decoding: Decoding) -> Iterator[str]:
    """The answer after `tokens` (see `fit_prompt`) in pieces, as they come.

    It ends with its turn, at a stop string, at `max_tokens`, or where the context is full.
    """
    for _, piece in _replies(model, chat, tokens, decoding, 1):
        if piece:
            yield piece


def reply_texts(
    model: LoadedModel, chat: Chat, tokens: list[int], decoding: Decoding, count: int
) -> list[str]:
    """As many answers, written side by side, each from random numbers of its own."""
    texts = [""] * count
    for number, piece in _replies(model, chat, tokens, decoding, count):
        texts[number] += piece
    return texts


def _replies(
    model: LoadedModel, chat: Chat, tokens: list[int], decoding: Decoding, count: int
) -> Iterator[tuple[int, str]]:
    check_rows(model.loaded, tokens)
    ends = model.loaded.end_ids | ({chat.turn_end_id} if chat.turn_end_id is not None else set())
    room = model.engine.context - len(tokens)
    decoding = decoding.model_copy(update={"max_tokens": min(decoding.max_tokens, room)})
    prompts = [tokens] * count
    for number, piece, _ in generate_texts(model.engine, chat.tokenizer, prompts, decoding, ends):
        yield number, piece


def fit_prompt(
    chat: Chat, messages: Sequence[Message], context: int, max_tokens: int
) -> tuple[list[int], int]:
    """The tokens of a conversation that awaits an answer, and how many old turns had to go.

    The answer gets `max_tokens` of the context, but no more than half of it. A system message
    stays.

    Raises:
        InputError: the last turn alone leaves no room, or the template does not take it.
    """
    rest = [message for i, message in enumerate(messages) if i or message["role"] != "system"]
    room = context - min(max_tokens, context // 2)
    starts = sorted({0, *(i for i, message in enumerate(rest) if message["role"] == "user")})
    for start in starts:
        try:
            tokens = chat.prompt(without_turns(messages, start))
        except TemplateError as error:
            if start != starts[-1] and rest[start]["role"] != "user":
                continue  # some templates want the user first
            raise InputError(f"The chat template does not take this: {error}.") from error
        if len(tokens) <= room or (start == starts[-1] and len(tokens) < context):
            return tokens, start
    raise InputError(
        f"The message has {len(tokens):,} tokens with what belongs to it, but the model sees "
        f"{context:,} at once. Say less."
    )


def without_turns(messages: Sequence[Message], count: int) -> list[Message]:
    """A conversation without its first turns; a system message stays and does not count."""
    head = 1 if messages and messages[0]["role"] == "system" else 0
    return [*messages[:head], *messages[head + count :]]
