"""A stage on documents that may be too much for it: too slow, or fatal to a library.

A batch is given to the stage as a whole. Where that takes too long or fails, its documents are
given to it one by one, so that only the culprit is left out. What kills the process cannot be
caught; that is found by a trail, in a later process (trail.py).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xunlian.corpus.budget import SECONDS, TooSlow, time_budget
from xunlian.corpus.columns import Columns
from xunlian.corpus.trail import Trail
from xunlian.errors import InputError, XunlianError


class Outcome(NamedTuple):
    """What a stage makes of a batch, a value for each of its texts.

    Attributes:
        texts: the same texts where nothing was changed.
        dropped: the reason to leave a document out, or None.
        notes: further columns, such as the language.
        changes: what was changed, counted.
    """

    texts: list[str]
    dropped: Sequence[str | None]
    notes: Columns
    changes: dict[str, int]


UNABLE = {
    "too_slow": f"takes more than {SECONDS:.0f} s",
    "slow_pattern": "makes an expression of corpus.quality.patterns slow",
    "failed": "makes a library fail",
    "crashed": "ends the process that works on it",
    "page_too_large": "is too large a page",
    "page_too_deep": "is nested too deep for a page",
}
"""Reasons that are no verdict on a document, but that a stage could not do its work on it."""


class Guard:
    """Gives batches to a stage.

    Args:
        stage: its name.
        stops: raise InputError at a document on which the stage could not work (`UNABLE`), instead
            of leaving it out.
        trail: do it with care: one document after the other.
    """

    def __init__(self, stage: str = "", stops: bool = False, trail: Trail | None = None) -> None:
        self._stage, self._stops, self._trail = stage, stops, trail
        self._number = 0  # of the document in the stage, with a trail

    def __call__(self, function: Callable[[Columns], Outcome], rows: Columns) -> Outcome:
        """What the stage makes of the rows, which are not empty."""
        outcome = None if self._trail else self._whole(function, rows)
        outcome = outcome or self._one_by_one(function, rows)
        if self._stops:
            for identity, reason in zip(rows["id"], outcome.dropped, strict=True):
                if reason in UNABLE:
                    self._stop(identity, UNABLE[reason])
        return outcome

    def _stop(self, identity: str, why: str) -> None:
        stage = f" (stage {self._stage})" if self._stage else ""
        raise InputError(f"'{identity}' {why}{stage}. Leave it out with --on-error skip.")

    def _whole(self, function: Callable[[Columns], Outcome], rows: Columns) -> Outcome | None:
        try:
            with time_budget(SECONDS):
                return function(rows)
        except XunlianError:
            raise
        except (TooSlow, Exception):
            return None

    def _one_by_one(self, function: Callable[[Columns], Outcome], rows: Columns) -> Outcome:
        texts: list[str] = []
        dropped: list[str | None] = []
        notes: Columns = {}
        changes: Counter[str] = Counter()
        for i in range(len(rows["text"])):
            outcome = self._one(function, {name: [column[i]] for name, column in rows.items()})
            texts += outcome.texts
            dropped += outcome.dropped
            for name, values in outcome.notes.items():
                notes.setdefault(name, [None] * i).extend(values)
            for values in notes.values():
                values += [None] * (i + 1 - len(values))
            changes.update(outcome.changes)
        return Outcome(texts, dropped, notes, changes)

    def _one(self, function: Callable[[Columns], Outcome], row: Columns) -> Outcome:
        if self._trail:
            place, self._number = f"{self._stage} {self._number}", self._number + 1
            if how := self._trail.culprits.get(place):
                if self._stops:
                    self._stop(row["id"][0], f"{UNABLE['crashed']} ({how})")
                return Outcome(row["text"], ["crashed"], {}, {})
            self._trail.at(place)
        try:
            with time_budget(SECONDS):
                return function(row)
        except XunlianError:
            raise
        except TooSlow:
            return Outcome(row["text"], ["too_slow"], {}, {})
        except Exception as error:
            if self._stops:
                self._stop(row["id"][0], f"{UNABLE['failed']} ({error!r})")
            return Outcome(row["text"], ["failed"], {}, {})
