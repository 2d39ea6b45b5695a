"""What a stage saw, changed and dropped: counts that add up over parts, and a few examples."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from xunlian.corpus.columns import Columns

EXAMPLES = 10
"""Kept of what is dropped for one reason."""
_KEPT = 600  # characters of an example; more than are shown, so that masking sees where they end


@dataclass
class Tally:
    """Counts of one stage on one part, or on all of them.

    Attributes:
        pieces, bytes: what it was given.
        left: documents that begin behind it.
        open: characters of the last one, where it goes on in the next chunk.
        dropped: pieces left out, by reason; `dropped_bytes` likewise.
        changed: pieces whose text it changed, and `changes` what was changed, by kind.
        examples: by reason, the first that were dropped: (id, beginning of the text).
    """

    pieces: int = 0
    left: int = 0
    open: int = 0
    bytes: int = 0
    changed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_bytes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _broken: bool = False

    def saw(self, rows: Columns) -> None:
        """A batch that the stage is given."""
        live = [text for text in rows["text"] if text is not None]
        self.pieces += len(live)
        self.bytes += sum(map(size, live))

    def leaves(self, rows: Columns) -> None:
        """The batch behind the stage. What follows a gap in a document counts as one of its own."""
        for text, first, last in zip(rows["text"], rows["first"], rows["last"], strict=True):
            if text is not None:
                begins = first or self._broken
                self.left += begins
                self.open = len(text) + (0 if begins else self.open)
            if last:
                self.open = 0
            self._broken = text is None and not last

    def drop(self, reason: str, identity: str, text: str) -> None:
        self.dropped[reason] += 1
        self.dropped_bytes[reason] += size(text)
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append((identity, text[:_KEPT]))

    def add(self, other: "Tally") -> None:
        self.pieces += other.pieces
        self.left += other.left
        self.bytes += other.bytes
        self.changed += other.changed
        self.dropped.update(other.dropped)
        self.dropped_bytes.update(other.dropped_bytes)
        self.changes.update(other.changes)
        for reason, examples in other.examples.items():
            mine = self.examples.setdefault(reason, [])
            mine += examples[: EXAMPLES - len(mine)]

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `Tally.of` reads it."""
        return {
            "pieces": self.pieces,
            "left": self.left,
            "open": self.open,
            "bytes": self.bytes,
            "changed": self.changed,
            "dropped": dict(self.dropped),
            "dropped_bytes": dict(self.dropped_bytes),
            "changes": dict(self.changes),
            "examples": self.examples,
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Tally":
        tally = cls(*(plain[name] for name in ("pieces", "left", "open", "bytes", "changed")))
        for name in ("dropped", "dropped_bytes", "changes"):
            getattr(tally, name).update(plain[name])
        for reason, examples in plain["examples"].items():
            tally.examples[reason] = [(identity, text) for identity, text in examples]
        return tally


def size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
