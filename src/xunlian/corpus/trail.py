"""What a task is working on, left on disk for the process that comes after one that died of it.

A task is done with a trail only when a process died of it (engines/rescue.py). It then notes each
place (a file, a member of an archive, a document in a stage) before it begins with it. What the
last note names when the process dies is the culprit; the next process leaves that out and goes on.

Notes are appended without waiting for the disk: they survive the process, which is enough.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from xunlian.errors import XunlianError

Suspicion = Mapping[str, str]
"""Why a task is to be done with care: `how` the last process ended, and a word that tells this
`start` of the job from others, in which it may have been killed for any reason."""


class Trail:
    """The notes of one task, a context manager; they go when the task is done.

    Attributes:
        culprits: places of which processes died, and how.

    Raises:
        XunlianError: the last process died before it had begun with anything.
    """

    def __init__(self, path: Path, suspicion: Suspicion) -> None:
        self._path = path
        self.culprits: dict[str, str] = {}
        begin, *notes = _notes(path) or [None]
        if begin == suspicion["start"]:
            self.culprits = dict(note for note in notes if isinstance(note, list))
            if not (notes and isinstance(notes[-1], str)):
                raise XunlianError(
                    f"A worker process ended ({suspicion['how']}) before it had begun with "
                    "anything. Is a library broken, or is there too little memory? What is done "
                    "stays: start again to go on."
                )
            self.culprits[notes[-1]] = suspicion["how"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self._write(suspicion["start"])
        for culprit in self.culprits.items():
            self._write(culprit)

    def at(self, place: str) -> None:
        """The task begins with `place`."""
        self._write(place)

    def _write(self, note: Any) -> None:
        with open(self._path, "ab") as file:
            file.write(orjson.dumps(note) + b"\n")

    def __enter__(self) -> "Trail":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._path.unlink(missing_ok=True)


def _notes(path: Path) -> list[Any]:
    try:
        return [orjson.loads(line) for line in path.read_bytes().splitlines()]
    except (FileNotFoundError, orjson.JSONDecodeError):
        return []
