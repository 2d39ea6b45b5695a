"""Tokens in, text out, a piece at a time: whole characters only, and nothing after a stop string.

Notable ideas:
- Only the last few tokens are decoded again for each new one, so the work does not grow with the
  text. The tokens before them are context: some tokenizers put a space between two words and none
  before the first.
- A piece is held back while it could still change: an incomplete character (Chinese takes three
  bytes, an emoji four, and one token may bring any part of them), or the start of a stop string.
- Tokenizers that write a rare character as byte tokens decode a run of them all or nothing: one
  byte that is missing, at either end, spoils the whole run. So the context begins with a whole
  character, and what was shown stays although it may look spoilt until the next one is complete.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

REPLACEMENT = "\ufffd"  # what decoders put where bytes are no character
CONTEXT_TOKENS = 8
CHARACTER_TOKENS = 4  # a character has at most so many bytes, hence tokens

Finish = Literal["end", "stop", "length"]


class Decodes(Protocol):
    """The part of a tokenizer that is needed here."""

    def decode(self, ids: Iterable[int]) -> str: ...


class TextStream:
    """The continuation of one prompt as text that only grows.

    Attributes:
        tokens: how many new tokens came.
        finish: why it ended: 'end' token, 'stop' string or 'length'; None while it goes on.
    """

    def __init__(self, tokenizer: Decodes, prompt: Sequence[int], stop: Sequence[str] = ()):
        self.tokens = 0
        self.finish: Finish | None = None
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._shown = 0  # characters of _ids that are out
        self._held = ""  # text that may be the start of a stop string
        self._open = 0  # tokens since the text last ended with a whole character
        self._take_context(prompt)

    def push(self, token: int) -> str:
        """Add a token. Returns the text that is certain now; `finish` says if it was the last."""
        self.tokens += 1
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        certain = text.rstrip(REPLACEMENT)
        self._open = 0 if certain == text else self._open + 1
        if self._open >= CHARACTER_TOKENS:  # these bytes will never be a character
            certain = text.removesuffix(REPLACEMENT)
        piece, self._shown = certain[self._shown :], max(self._shown, len(certain))
        if len(self._ids) >= 2 * CONTEXT_TOKENS and not 0 < self._open < CHARACTER_TOKENS:
            self._take_context(self._ids)
        return self._until_stop(piece)

    def end(self, finish: Finish) -> str:
        """No more tokens. Returns what was held back; an incomplete character is dropped."""
        if self.finish is None:
            self.finish = finish
        piece, self._held = self._held, ""
        return piece

    def _take_context(self, ids: Sequence[int]) -> None:
        """Keep only the last of `ids`, whose text is out, from the beginning of a character."""
        for length in range(CONTEXT_TOKENS, CONTEXT_TOKENS + CHARACTER_TOKENS):
            self._ids = list(ids[-length:])
            text = self._tokenizer.decode(self._ids)
            if not text.startswith(REPLACEMENT):
                break
        self._shown = len(text.removesuffix(REPLACEMENT))

    def _until_stop(self, piece: str) -> str:
        """What of `piece`, and of what was held, can be shown."""
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.finish, self._held = "stop", ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a start of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
