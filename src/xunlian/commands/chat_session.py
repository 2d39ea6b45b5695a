"""A conversation with a model as it goes on: what was said, and what is answered next."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xunlian.console import warn
from xunlian.errors import InputError

if TYPE_CHECKING:
    from xunlian.decoding.model import LoadedModel
    from xunlian.decoding.rerank import Candidate
    from xunlian.recipe.settings import Decoding
    from xunlian.tokenizer.chat import Chat


@dataclass
class Session:
    """A conversation with a model.

    Attributes:
        messages: what was said, without the system message of `system`.
        rerank, min_safe: as `chat` takes them.
        forgotten: how many of the first turns the last answer could not see any more.
        candidates: with `rerank`, those of every answer, the best first.
    """

    model: "LoadedModel"
    chat: "Chat"
    decoding: "Decoding"
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    rerank: int = 0
    min_safe: float | None = None
    forgotten: int = 0
    candidates: "list[list[Candidate]]" = field(default_factory=list)

    def check(self) -> None:
        """Raises InputError: this model cannot choose among its answers so."""
        if self.rerank:
            from xunlian.decoding.rerank import check_rerank

            check_rerank(self.model, self.chat, self.decoding, self.rerank, self.min_safe)
        elif self.min_safe is not None:
            raise InputError("--min-safe is for --rerank N, which rates answers. Add it.")

    @property
    def all_messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + self.messages

    def answer(self, text: str, role: str = "user") -> Iterator[str]:
        """Say something, and get the answer piece by piece. What came of it is remembered, also
        when it is not read to its end.

        Raises:
            InputError: the message is too long, no text, or nothing the template takes.
        """
        from xunlian.decoding.chat import fit_prompt, reply
        from xunlian.decoding.model import check_unicode

        check_unicode("message", text)
        asked = {"role": role, "content": text}
        tokens, forgotten = fit_prompt(
            self.chat,
            [*self.all_messages, asked],
            self.model.engine.context,
            self.decoding.max_tokens,
        )
        if forgotten > self.forgotten:
            warn(
                f"The first {forgotten} turns are forgotten: the model sees "
                f"{self.model.engine.context:,} tokens at once."
            )
        self.forgotten = forgotten
        if self.rerank:
            yield from self._best(asked, tokens)
            return
        self.messages.append(asked)
        said = {"role": "assistant", "content": ""}
        self.messages.append(said)
        for piece in reply(self.model, self.chat, tokens, self.decoding):
            said["content"] += piece
            yield piece

    def _best(self, asked: dict[str, str], tokens: list[int]) -> Iterator[str]:
        """The best of several answers, whole; nothing, which is said, where none is safe."""
        from xunlian.decoding.chat import without_turns
        from xunlian.decoding.rerank import MIN_SAFE, SAFE, candidates

        seen = without_turns([*self.all_messages, asked], self.forgotten)
        found = candidates(self.model, self.chat, seen, tokens, self.decoding, self.rerank)
        self.candidates.append(found)
        least = MIN_SAFE if self.min_safe is None else self.min_safe
        safe = [candidate for candidate in found if candidate.is_safe(least)]
        if safe:
            self.messages += [asked, {"role": "assistant", "content": safe[0].text}]
            yield safe[0].text
        elif found:
            safest = max(candidate.ratings[SAFE] for candidate in found)
            warn(
                f"No answer: none of {len(found)} different ones is safe enough (the safest "
                f"{safest:.2f}, wanted {least:g}). Ask otherwise, or set --min-safe."
            )
        else:
            warn(f"No answer: all {self.rerank} were empty.")
