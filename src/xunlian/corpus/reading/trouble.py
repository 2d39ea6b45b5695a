"""What goes wrong while reading: how far it may go, and who is told.

With `on_error = "stop"` the first broken file is an `InputError`. With "skip" whatever can be read
goes on, and each thing left out (a record, a member of an archive, the rest of a file) is counted
and told to `set_aside`, so that nothing is lost silently. What came before the damage stays; but
nothing stays of a file that was never sound (`Unsound`).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings

Advance = Callable[[int], None]
"""Called with the bytes read from the file itself, for progress."""
SetAside = Callable[[str, str, str], None]
"""Called with a file's name, the place in it ('' for all of it) and the reason, in words."""


class Unsound(InputError):
    """Nothing of a file or member may be used, also not what was read before this was known: it is
    a bomb, or it changed meanwhile."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Limits:
    """What may be in memory at once, and how far a compressed file may swell.

    Attributes:
        ratio: unpacked bytes for each packed one. Natural text stays under 30, logs and repeated
            records under 150; deflate can reach 1,032, the others 10,000 and more.
        free: unpacked bytes for which no ratio is asked.
        record: bytes of a line, a row or a field.
        page: bytes of a web page.
        whole: bytes of a PDF.
        spooled: bytes of what is needed in any order but is packed, such as an archive within an
            archive: they go to a temporary file.
        pages: of a PDF.
    """

    ratio: int = 200
    free: int = 100_000_000
    record: int = 1 << 26
    page: int = 1 << 24
    whole: int = 1 << 28
    spooled: int = 1 << 32
    pages: int = 20_000


LIMITS = Limits()


def ignore(*_: object) -> None:
    """Told of something, does nothing."""


@dataclass(frozen=True)
class Reading:
    """How files are read, and what is told meanwhile.

    Attributes:
        counts: what was left out or replaced is added here.
        refused: files and members not to be read, by their names, and why.
        enter: called with the name of each that is.
    """

    settings: CorpusSettings
    counts: Counter[str] = field(default_factory=Counter)
    advance: Advance = ignore
    set_aside: SetAside = ignore
    limits: Limits = LIMITS
    refused: Mapping[str, str] = field(default_factory=dict)
    enter: Callable[[str], None] = ignore

    @property
    def skips(self) -> bool:
        return self.settings.on_error == "skip"

    def broken(self, name: str, place: str, reason: str, kind: str) -> None:
        """Set something aside, or raise InputError when nothing may be."""
        if not self.skips:
            raise InputError(
                f"'{name}'{', ' + place if place else ''}: {reason}. Mend it, or leave it out with "
                "--on-error skip."
            )
        self.counts[kind] += 1
        self.set_aside(name, place, reason)


class BrokenRecords:
    """Counts records that cannot be read; stops at the end of the file, or goes on.

    Args:
        place: how the place of record number `n` is called.
        what: what a record of the file is called.
    """

    def __init__(
        self,
        name: str,
        on_error: str,
        counts: Counter[str],
        set_aside: SetAside = ignore,
        place: Callable[[int], str] = "{:,}".format,
        what: str = "line",
    ) -> None:
        self.name, self.on_error, self.counts = name, on_error, counts
        self.set_aside, self.place, self.what = set_aside, place, what
        self.lines: list[int] = []
        self.count = 0
        self.reason = ""

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        self.counts["broken_records"] += 1
        if self.on_error == "skip":
            self.set_aside(self.name, f"{self.what} {self.place(line)}", reason)
        if len(self.lines) < 5:
            self.lines.append(line)
            self.reason = self.reason or reason

    def finish(self) -> None:
        """Raises InputError with the count and the first places, unless they are to be skipped."""
        if self.count and self.on_error == "stop":
            where = ", ".join(map(self.place, self.lines))
            what = self.what if self.count == 1 else f"{self.what}s"
            raise InputError(
                f"'{self.name}' has {self.count:,} broken {what} ({self.what} {where}"
                f"{', ...' if self.count > len(self.lines) else ''}; the first: "
                f"{self.reason}). Mend them, or leave them out with --on-error skip."
            )
