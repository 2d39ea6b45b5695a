"""Programs that a model wrote, run where they can do little harm, each in a process of its own.

A program gets an empty folder that is removed afterwards, no standard input, an environment without
the user's variables, and limits of time, memory and size of files; what it prints is thrown away.
confined.py has the walls: no network, no new processes, no files but its own and those of Python.

What this is not: a virtual machine. A mistake in the kernel is a way out, a program may fill the
disk until its time is over, and it can find out what hardware and which libraries are here.
"""

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from xunlian.errors import InputError, XunlianError

_SCRIPT = Path(__file__).with_name("confined.py")
_LONGEST_RESULT = 1 << 16  # bytes


@dataclass(frozen=True)
class Limits:
    """What a program may use up.

    Attributes:
        seconds: from its start to its end, and as time of the processor.
        memory: bytes of address space.
        file_bytes: of each file that it writes.
        kernel: whether the kernel may hold the walls; False for trying what holds them elsewhere.
    """

    seconds: float = 10.0
    memory: int = 1 << 30
    file_bytes: int = 1 << 24
    kernel: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a program ended: '' when it came to its end, else why it did not.

    `walls` says what held it: 'kernel' or 'python'; '' when that was not told.
    """

    error: str
    walls: str = ""

    @property
    def passed(self) -> bool:
        return not self.error


def run_program(source: str, limits: Limits) -> Outcome:
    """Run the text of a Python program, its tests included; it passes when nothing is raised.

    Nothing of it is left when this returns: neither a process nor a file.
    """
    token = secrets.token_hex(16)
    reading, writing = os.pipe()
    with _folder() as work:
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", str(_SCRIPT)],
            cwd=work,
            env=_environment(work),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
        )
        try:
            os.close(writing)
            deadline = time.monotonic() + limits.seconds
            request = {"source": source, "token": token, "result": writing,
                       "seconds": limits.seconds, "memory": limits.memory,
                       "file_bytes": limits.file_bytes, "kernel": limits.kernel}  # fmt: skip
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            told = _read(reading, deadline)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            status = process.wait()
            os.close(reading)
    if told is None:
        return Outcome(f"took longer than {limits.seconds:g} seconds")
    return _outcome(told, token, status)


@contextmanager
def _folder() -> Iterator[str]:
    """An empty folder, which is removed with whatever a program has put there."""
    work = tempfile.mkdtemp(prefix="xunlian-")
    try:
        yield work
    finally:
        with suppress(RecursionError):  # folders in folders by the thousand
            shutil.rmtree(work, ignore_errors=True)
        if os.path.exists(work):
            subprocess.run(["rm", "-rf", "--", work], stderr=subprocess.DEVNULL)


def run_programs(
    sources: Sequence[str], limits: Limits, workers: int, advance: Callable[[int], None]
) -> list[Outcome]:
    """Run each program, `workers` at a time; equal ones once.

    Args:
        advance: called with the number of programs that are done.
    """
    found: dict[str, Outcome] = {}

    def run(source: str) -> tuple[str, Outcome]:
        return source, run_program(source, limits)

    pool = ThreadPoolExecutor(workers)
    try:
        for source, outcome in pool.map(run, dict.fromkeys(sources)):
            found[source] = outcome
            advance(sources.count(source))
    finally:
        pool.shutdown(cancel_futures=True)
    return [found[source] for source in sources]


def try_sandbox(limits: Limits) -> str:
    """What holds the walls on this machine: 'kernel' or 'python'.

    Raises:
        InputError: programs cannot be run apart here.
        XunlianError: not even an empty program ends well.
    """
    if not hasattr(os, "killpg"):
        raise InputError("Programs can be run apart on Linux and macOS only, not on this system.")
    outcome = run_program("pass", limits)
    if not outcome.passed:
        raise XunlianError(
            f"No program can be run here: an empty one {outcome.error}. Give it more --timeout, or "
            "use another Python."
        )
    return outcome.walls


def _environment(work: str) -> dict[str, str]:
    """Nothing of the user's but where libraries are, without which Python may not start."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {
        "PATH": "/usr/bin:/bin",
        "HOME": work,
        "TMPDIR": work,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the order of a set is the same every time
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _read(pipe: int, deadline: float) -> bytes | None:
    """All that comes through the pipe; None when it is still open at the deadline."""
    told = b""
    while len(told) <= _LONGEST_RESULT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        part = os.read(pipe, _LONGEST_RESULT)
        if not part:
            return told
        told += part
    return told


def _outcome(told: bytes, token: str, status: int) -> Outcome:
    try:
        result = json.loads(told)
        if result["token"] == token:
            error = str(result["error"]).encode("utf-8", "replace").decode()
            return Outcome(error, str(result["walls"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    if status < 0:
        names = {known.value: known.name for known in signal.Signals}
        return Outcome(f"was ended by {names.get(-status, f'signal {-status}')}")
    return Outcome("ended before its tests were done")
