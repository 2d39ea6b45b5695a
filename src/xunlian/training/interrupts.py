"""Ctrl-C and SIGTERM during training: the step is finished, a checkpoint is written."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from xunlian.console import say


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C or SIGTERM came; a second one is not caught."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        say("\nStopping after this step; a checkpoint will be written.")

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:
        pass  # not the main thread: signals go elsewhere
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
