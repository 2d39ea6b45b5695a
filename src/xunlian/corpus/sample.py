"""A bounded sample of a text of unknown length, spread evenly over it, without chance.

The text is collected into lumps; lump number n has the priority n·φ mod 1, and the lumps of
smallest priority that fit are kept. Multiples of the golden ratio fill the interval evenly
(Weyl 1916), hence so do the kept lumps the text.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_LUMP = 16_000  # characters
PHI = 0x9E3779B97F4A7C15  # 2^64 / golden ratio


@dataclass(frozen=True)
class Excerpt:
    """Text of one document (`ordinal`), or of many, one a line (`ordinal` None).

    `offset` is the character of its document at which the text begins.
    """

    ordinal: int | None
    offset: int
    text: str


@dataclass
class Sampler:
    """Collects at most `limit` bytes (UTF-8) of what is added."""

    limit: int
    _lump: list[Excerpt] = field(default_factory=list)
    _together: list[str] = field(default_factory=list)
    _characters: int = 0
    _count: int = 0
    _size: int = 0
    _kept: list[tuple[int, int, int, list[Excerpt]]] = field(default_factory=list)

    def add(self, text: str, ordinal: int | None = None, offset: int = 0) -> None:
        """Add text; `ordinal` and `offset` are only kept where they are given."""
        for first in range(0, len(text), _LUMP):
            part = text[first : first + _LUMP]
            if ordinal is None:
                self._together.append(part)
            else:
                self._lump.append(Excerpt(ordinal, offset + first, part))
            self._characters += len(part)
            if self._characters >= _LUMP:
                self._close()

    def excerpts(self) -> Iterator[Excerpt]:
        """The sample, in the order of the text."""
        self._close()
        for _, _, _, lump in sorted(self._kept, key=lambda item: item[1]):
            yield from lump

    def _close(self) -> None:
        if self._together:
            self._lump.append(Excerpt(None, 0, "\n".join(self._together)))
        if not self._lump:
            return
        size = sum(len(excerpt.text.encode()) for excerpt in self._lump)
        priority = self._count * PHI & (2**64 - 1)
        heapq.heappush(self._kept, (-priority, self._count, size, self._lump))
        self._count += 1
        self._size += size
        while self._size > self.limit and len(self._kept) > 1:
            self._size -= heapq.heappop(self._kept)[2]
        self._lump, self._together, self._characters = [], [], 0


def texts(excerpts: Iterable[Excerpt]) -> Iterator[str]:
    for excerpt in excerpts:
        yield excerpt.text
