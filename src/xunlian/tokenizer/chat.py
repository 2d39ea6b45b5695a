"""A tokenizer with its chat template: conversations to tokens, and which of them are learned.

The ids, and the mask of the assistant's tokens, are those of Transformers' `apply_chat_template`,
but for one thing: letters in a message that read like a special token stay letters, so nobody can
end a turn by writing `<|im_end|>` into one.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import tokenizers

from xunlian.errors import InputError
from xunlian.tokenizer.template import (
    BREAK,
    DEFAULT,
    SHIPPED,
    Message,
    Rendered,
    Template,
    any_of,
    find_template,
    plain,
    template_of,
    variables_of,
)
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer, wrap

READ, LEARNED, CUT = 0, 1, 2
"""What a token is: only read, or learned; CUT is added where a user's turn begins before which
earlier turns can be left out."""


@dataclass(frozen=True)
class Tokens:
    """A conversation as tokens.

    Attributes:
        ids: of the text that the template makes.
        marks: for each, READ or LEARNED, with CUT added where a turn may follow a cut.
    """

    ids: list[int]
    marks: list[int]


@dataclass(frozen=True)
class Chat:
    """Conversations to tokens."""

    tokenizer: Tokenizer
    template: Template

    @cached_property
    def specials(self) -> tuple[str, ...]:
        """The tokenizer's special tokens."""
        return special_tokens(self.tokenizer.backend)

    @cached_property
    def turn_end_id(self) -> int | None:
        """The token that ends an answer, if the template writes one."""
        token = self.template.turn_end(self.specials)
        return None if token is None else self.tokenizer.backend.token_to_id(token)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation up to where the assistant speaks next.

        Raises:
            TemplateError: the template does not take these messages.
        """
        return self._encode(self.template.render(messages, self.specials)).ids

    def whole(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation, to its end. Raises TemplateError as `prompt` does."""
        return self._encode(self.template.render(messages, self.specials, prompt=False)).ids

    def rendered(self, messages: Sequence[Message]) -> Rendered:
        """The text of a conversation. Raises TemplateError: the template does not take it."""
        return self.template.render_learned(messages, self.specials)

    def encode(self, conversations: Sequence[Rendered]) -> list[Tokens]:
        """The tokens of each conversation."""
        simple = [r.text for r in conversations if BREAK not in r.text]
        encoded = iter(self._parsing.encode_batch(simple, add_special_tokens=False))
        found = []
        for rendered in conversations:
            if BREAK in rendered.text:
                pieces = self._encode(rendered.text)
                ids, offsets = pieces.ids, pieces.offsets
            else:
                encoding = next(encoded)
                ids, offsets = encoding.ids, encoding.offsets
            found.append(Tokens(ids, _marks(offsets, rendered)))
        return found

    @cached_property
    def _parsing(self) -> tokenizers.Tokenizer:
        """The tokenizer, but special tokens in a text are made: a template writes them so."""
        backend = tokenizers.Tokenizer.from_str(self.tokenizer.backend.to_str())
        backend.encode_special_tokens = False
        return backend

    def _encode(self, text: str) -> "_Pieces":
        """Ids, and where in `text` each stands."""
        if BREAK not in text:
            encoding = self._parsing.encode(text, add_special_tokens=False)
            return _Pieces(encoding.ids, encoding.offsets)
        found = _Pieces([], [])
        pattern = any_of(self.specials)
        assert pattern is not None
        start = 0
        for match in [*pattern.finditer(text), None]:
            end = match.start() if match else len(text)
            found.add_text(text[start:end], start, self.tokenizer.backend)
            if match:
                token = self.tokenizer.backend.token_to_id(match[0])
                assert token is not None
                found.ids.append(token)
                found.offsets.append(match.span())
                start = match.end()
        return found


@dataclass
class _Pieces:
    ids: list[int]
    offsets: list[tuple[int, int]]

    def add_text(self, text: str, start: int, backend: tokenizers.Tokenizer) -> None:
        """Letters only: `backend` makes no special tokens of them."""
        breaks = [i for i, letter in enumerate(text) if letter == BREAK]
        before = [place - i for i, place in enumerate(breaks)]  # where they stood in the plain text
        encoding = backend.encode(plain(text), add_special_tokens=False)
        self.ids += encoding.ids
        self.offsets += [
            (start + a + bisect_right(before, a), start + b + bisect_right(before, b - 1))
            for a, b in encoding.offsets
        ]


def _marks(offsets: Sequence[tuple[int, int]], rendered: Rendered) -> list[int]:
    """A token is learned when any of its characters is."""
    learned, cuts = iter(rendered.learned), iter(sorted((rendered.head, *rendered.cuts)))
    span, cut = next(learned, None), next(cuts, None)
    marks = []
    for start, end in offsets:
        while span and span[1] <= start:
            span = next(learned, None)
        mark = LEARNED if span and start < span[1] and end > span[0] else READ
        if cut is not None and start >= cut:
            mark |= CUT
            while cut is not None and cut <= start:
                cut = next(cuts, None)
        marks.append(mark)
    return marks


def special_tokens(backend: tokenizers.Tokenizer) -> tuple[str, ...]:
    tokens = backend.get_added_tokens_decoder().values()
    return tuple(sorted(token.content for token in tokens if token.special))


def load_chat(folder: Path) -> Chat | None:
    """The tokenizer and the template of a folder; None when it has no template.

    Raises:
        InputError: the tokenizer is damaged, or the template has a mistake in its syntax.
    """
    tokenizer = load_tokenizer(folder)
    template = template_of(tokenizer, str(folder))
    return None if template is None else Chat(tokenizer, template)


def require_chat(folder: Path) -> Chat:
    """As `load_chat`. Raises InputError, too, when there is no template."""
    if chat := load_chat(folder):
        return chat
    raise InputError(
        f"'{folder}' has no chat template, so it cannot chat. Fine-tune it on conversations "
        "(xunlian prepare FILES --chat), put a chat_template.jinja there, or use `xunlian "
        "generate`."
    )


def make_chat(tokenizer: Tokenizer, given: str | None) -> tuple[Chat, int]:
    """A tokenizer with a template, and how many special tokens it had to be given for it.

    Args:
        given: name, file or folder of a template; None: the tokenizer's own, else `DEFAULT`.

    Raises:
        InputError: there is no such template, or it has a mistake in its syntax.
    """
    own = template_of(tokenizer, "of the tokenizer") if given is None else None
    if own:
        return Chat(tokenizer, own), 0
    template = find_template(given or DEFAULT, variables_of(tokenizer))
    wanted = SHIPPED.get(given or DEFAULT, template.tokens)
    missing = [token for token in wanted if tokenizer.backend.token_to_id(token) is None]
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in wanted]
    )
    # A conversation ends with the token that ends its last answer.
    end = template.turn_end(special_tokens(backend)) or tokenizer.end_token
    pad = tokenizer.end_id if tokenizer.pad_id is None else tokenizer.pad_id
    made = wrap(backend, end, backend.id_to_token(pad), tokenizer.names, template.source)
    return Chat(made, replace(template, variables=variables_of(made))), len(missing)


def learned_texts(tokens: Tokens, tokenizer: Tokenizer) -> Iterator[tuple[str, bool]]:
    """(text, whether it is learned), in order, special tokens included; for showing."""
    start = 0
    for i in range(1, len(tokens.ids) + 1):
        here = tokens.marks[start] & LEARNED
        if i == len(tokens.ids) or tokens.marks[i] & LEARNED != here:
            ids = tokens.ids[start:i]
            yield tokenizer.backend.decode(ids, skip_special_tokens=False), bool(here)
            start = i
