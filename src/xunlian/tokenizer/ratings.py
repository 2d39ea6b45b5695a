"""Ratings of an answer as tokens, so that one model writes answers and judges them.

The way of LaMDA (R. Thoppilan et al., arXiv 2201.08239, section 6): a conversation whose last
answer was rated is followed by what was rated and by the rating, and only the rating is learned:

    <conversation> <|sensible|> <|rating_1|>

Each attribute that was rated makes a sequence of its own, so no rating is read while another is
predicted. The tokens are special ones, added to a tokenizer as those of a chat template are; a
tokenizer has those of the attributes that were rated, and so says what a model can judge.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import tokenizers

from xunlian.errors import InputError
from xunlian.tokenizer.chat import CUT, LEARNED, READ, Chat, Tokens, special_tokens
from xunlian.tokenizer.template import variables_of
from xunlian.tokenizer.tokenizer import Tokenizer, wrap

ATTRIBUTES = ("sensible", "specific", "interesting", "safe")
RATINGS = ("<|rating_0|>", "<|rating_1|>")
_TOKEN_OF = {name: f"<|{name}|>" for name in ATTRIBUTES}
ALL_TOKENS = (*_TOKEN_OF.values(), *RATINGS)

Ratings = tuple[tuple[str, int], ...]
"""(attribute, 0 or 1) of the last answer of a conversation, in the order of ATTRIBUTES."""


def rating_tokens(attributes: Iterable[str]) -> tuple[str, ...]:
    """The special tokens that ratings of these attributes need."""
    found = set(attributes)
    named = tuple(token for name, token in _TOKEN_OF.items() if name in found)
    return (*named, *RATINGS) if named else ()


def with_ratings(chat: Chat, attributes: Iterable[str]) -> tuple[Chat, int]:
    """`chat` with the tokens for ratings of `attributes`, and how many were added."""
    tokenizer = chat.tokenizer
    known = special_tokens(tokenizer.backend)
    missing = [token for token in rating_tokens(attributes) if token not in known]
    if not missing:
        return chat, 0
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in missing]
    )
    pad = None if tokenizer.pad_id is None else backend.id_to_token(tokenizer.pad_id)
    made = wrap(backend, tokenizer.end_token, pad, tokenizer.names, tokenizer.chat_template)
    template = replace(chat.template, variables=variables_of(made))
    return Chat(made, template), len(missing)


def attribute_ids(tokenizer: Tokenizer) -> Mapping[str, int]:
    """Attribute -> the id that asks for it, of those that the tokenizer can rate."""
    known = special_tokens(tokenizer.backend)
    ids = {name: tokenizer.backend.token_to_id(_TOKEN_OF[name]) for name in ATTRIBUTES}
    return {name: i for name, i in ids.items() if i is not None and _TOKEN_OF[name] in known}


def rating_ids(tokenizer: Tokenizer) -> tuple[int, int] | None:
    """The ids of the ratings 0 and 1; None where the tokenizer rates nothing."""
    no, yes = (tokenizer.backend.token_to_id(token) for token in RATINGS)
    return None if no is None or yes is None or not attribute_ids(tokenizer) else (no, yes)


def rated(conversation: Tokens, ratings: Ratings, tokenizer: Tokenizer) -> list[Tokens]:
    """A sequence for each rating: the conversation is read, the rating learned.

    Raises:
        InputError: the tokenizer cannot rate an attribute.
    """
    asked, answers = attribute_ids(tokenizer), rating_ids(tokenizer)
    cuts = [mark & CUT for mark in conversation.marks]
    found = []
    for name, rating in ratings:
        if answers is None or name not in asked:
            raise InputError(
                f"An answer is rated as {name}, but the tokenizer is from conversations without "
                "such ratings. Prepare them together with those to train on."
            )
        ids = [*conversation.ids, asked[name], answers[rating]]
        found.append(Tokens(ids, [*cuts, READ, LEARNED]))
    return found


def require_ratings(chat: Chat, name: str) -> tuple[Mapping[str, int], tuple[int, int]]:
    """The ids of the attributes and of the ratings of a model.

    Raises:
        InputError: it has learned none.
    """
    ids = rating_ids(chat.tokenizer)
    if ids is None:
        raise InputError(
            f"'{name}' has learned no ratings, so it cannot choose among its answers. Train it on "
            "rated conversations (docs/quality-head.md), or leave out --rerank."
        )
    return attribute_ids(chat.tokenizer), ids


def read_ratings(given: Any) -> Ratings:
    """What a record has under 'ratings': {"sensible": 1, "safe": 0}, any of ATTRIBUTES.

    Anything but an object is somebody else's field, and no rating.

    Raises:
        ValueError: an unknown attribute, a rating that is neither 0 nor 1, or none at all.
    """
    if not isinstance(given, Mapping):
        return ()
    for name, rating in given.items():
        if name not in ATTRIBUTES:
            raise ValueError(f"ratings has '{name}', and known are {', '.join(ATTRIBUTES)}")
        if rating is not None and rating not in (0, 1):
            raise ValueError(f"ratings.{name} is {rating!r}, which is neither 0 nor 1")
    found = tuple((name, int(given[name])) for name in ATTRIBUTES if given.get(name) is not None)
    if not found:
        raise ValueError("its ratings are empty")
    return found


def rating_text(ratings: Sequence[tuple[str, int]]) -> str:
    """'sensible 1, safe 0'"""
    return ", ".join(f"{name} {rating}" for name, rating in ratings)
