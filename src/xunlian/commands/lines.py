"""Lines of text as a stream, for the commands that turn each into another."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

STANDARD_INPUT = "-"
PATIENCE = 2.0  # seconds before progress is shown


@contextlib.contextmanager
def open_input(name: str) -> Iterator[IO[bytes]]:
    """The file of this name, or standard input.

    Raises:
        InputError: it cannot be read.
    """
    from xunlian.errors import InputError
    from xunlian.files import os_errors

    if name == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        with os_errors(Path(name)):
            file = open(name, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise InputError(f"There is no input file '{name}'.") from error
    with file:
        yield file


def read_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines of an open file, without their ends, as they come.

    Raises:
        InputError: a line is no UTF-8.
    """
    from xunlian.errors import InputError

    for number, raw in enumerate(file, 1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where = "standard input" if name == STANDARD_INPUT else f"'{name}'"
            raise InputError(
                f"Line {number:,} of {where} is not UTF-8 text ({error.reason}). Save it as UTF-8."
            ) from error
        yield text.removesuffix("\n").removesuffix("\r")


class Watch:
    """Shows how many lines are done, and how fast, once it takes more than a moment."""

    def __init__(self, wanted: bool):
        self._wanted, self._count, self._begin = wanted, 0, time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def done(self, count: int) -> None:
        self._count += count
        seconds = time.monotonic() - self._begin
        if not self._wanted or seconds < PATIENCE:
            return
        if self._bar is None:
            from rich.progress import TextColumn

            from xunlian.console import progress

            self._bar = progress(TextColumn("{task.description}"))
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        rate = self._count / seconds
        self._bar.update(self._task, description=f"{self._count:,} lines, {rate:,.0f} a second")
