"""What a measured process tells the benchmark, as lines on standard output.

Standard library only, because a peer may live in a Python of its own.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MARK = "@bench "


def tell(**facts: Any) -> None:
    print(MARK + json.dumps(facts), flush=True)


def memory(key: str) -> int | None:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most so far. None: not on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return None


def tell_base() -> None:
    """To be called when all is imported and nothing is built."""
    tell(memory_base=memory("VmRSS"))


def tell_peak() -> None:
    """To be called after the last step, before an evaluation that is the benchmark's own."""
    tell(memory_peak=memory("VmHWM"))


class Stopwatch:
    """Seconds since the process was started; evaluations do not count."""

    def __init__(self) -> None:
        self.started = float(os.environ["BENCH_STARTED"])
        self.stopped = 0.0

    def seconds(self) -> float:
        return time.time() - self.started - self.stopped

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.time()
        yield
        self.stopped += time.time() - begun


def run(child: Callable[..., None]) -> None:
    """Call `child` with what `start` wrote on the command line."""
    child(**json.loads(sys.argv[1]))
