"""Tokens in, text out, a piece at a time: whole characters only, and nothing after a stop string.

Notable ideas:
- Only the last few tokens are decoded again for each new one, so the work does not grow with the
  text. The tokens before them are context: some tokenizers put a space between two words and none
  before the first.
- A piece is held back while it could still change: an incomplete character (Chinese takes three
  bytes, an emoji four, and one token may bring any part of them), or the start of a stop string.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

REPLACEMENT = "\ufffd"  # what decoders put where bytes are no character
CONTEXT_TOKENS = 8

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
        self._ids = list(prompt[-CONTEXT_TOKENS:])
        self._shown = len(self._whole_text())  # characters of _ids that are out
        self._held = ""  # text that may be the start of a stop string

    def push(self, token: int) -> str:
        """Add a token. Returns the text that is certain now; `finish` says if it was the last."""
        self.tokens += 1
        self._ids.append(token)
        text = self._whole_text()
        piece, self._shown = text[self._shown :], max(self._shown, len(text))
        if len(self._ids) >= 2 * CONTEXT_TOKENS:
            self._ids = self._ids[-CONTEXT_TOKENS:]
            self._shown = len(self._whole_text())
        return self._until_stop(piece)

    def end(self, finish: Finish) -> str:
        """No more tokens. Returns what was held back; an incomplete character is dropped."""
        if self.finish is None:
            self.finish = finish
        piece, self._held = self._held, ""
        return piece

    def _whole_text(self) -> str:
        """The text of the last tokens without an incomplete character at its end."""
        return self._tokenizer.decode(self._ids).removesuffix(REPLACEMENT)

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
