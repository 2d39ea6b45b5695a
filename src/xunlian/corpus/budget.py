"""A time budget for each document, so that one that makes a stage slow does not stop a job.

It is processor time, not the clock's, so a busy machine changes nothing. A library that does not
come back from its own code at all is ended with its process when it has taken three times the
budget (rescue.py then finds the document). Where no timer can be set (not the main thread, or
Windows), there is no budget.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SECONDS = 10.0
"""For a piece of a document, of at most 262,144 characters, in one stage."""


class TooSlow(BaseException):
    """The budget is spent. Not an `Exception`, which libraries catch and go on."""


@contextlib.contextmanager
def time_budget(seconds: float) -> Iterator[None]:
    """Raises TooSlow inside the block when it has taken so much processor time."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)  # again, if it was caught
    signal.setitimer(signal.ITIMER_VIRTUAL, 3 * seconds)  # SIGVTALRM ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGPROF, before)
