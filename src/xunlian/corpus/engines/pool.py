"""The local engine: tasks in processes of this machine, one core each, for as long as a job runs.

Plain child processes with pipes, for the reasons that workers.py gives. A process is given the
next task when it has done one; it sends messages of progress, then the result. Also a single one
is a process of its own: what dies there, or takes all memory, leaves the job alive.
"""

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import orjson

from xunlian.corpus.engines.tasks import Died, Task, Told, carry_out
from xunlian.corpus.engines.worker import receive, send, start
from xunlian.errors import InputError, XunlianError

MEMORY = 4 << 30
"""Bytes that a process may take; with all stages on, 1.4 GB were measured, of which Arrow's
allocator only reserves 1. Beyond, a library has been misled by a file, and finds that there is no
memory before the machine has none left."""

GROWN = 500_000_000
"""Bytes resident of a process that gets no other task: a fresh one takes its place. Allocators
seldom give back what they once had, and some library may leak, in jobs of many hours."""

_Process = subprocess.Popen[bytes]


class Pool:
    """Worker processes; a context manager, which ends them."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._idle: deque[_Process] = deque()
        self._busy: set[_Process] = set()
        self._threads = ThreadPoolExecutor(workers)

    def run(self, tasks: Sequence[Task], told: Told) -> Iterator[tuple[int, Any]]:
        """(number of the task, its result, or `Died`), as they are done.

        Raises:
            InputError, XunlianError: what a task raised first; those under way are given up.
        """
        return self._run(tasks, told, self._workers)

    def run_alone(self, tasks: Sequence[Task], told: Told) -> Iterator[tuple[int, Any]]:
        """As `run`, one task after the other."""
        return self._run(tasks, told, 1)

    def _run(self, tasks: Sequence[Task], told: Told, most: int) -> Iterator[tuple[int, Any]]:
        left = deque(enumerate(tasks))
        running: dict[Future[Any], tuple[int, _Process]] = {}
        while left or running:
            while left and len(running) < most:
                number, task = left.popleft()
                process = self._idle.popleft() if self._idle else start(__name__)
                self._busy.add(process)
                running[self._threads.submit(_ask, process, task, told)] = number, process
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number, process = running.pop(future)
                result = future.result()
                self._busy.remove(process)
                if not isinstance(result, Died):
                    self._keep(process)
                yield number, result

    def _keep(self, process: _Process) -> None:
        if _resident(process) <= GROWN:
            self._idle.append(process)
        else:
            process.kill()  # it waits for a task, and has written all that it had
            process.communicate()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        every = [*self._idle, *self._busy]
        for process in every:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in every:
            process.communicate()


def _resident(process: _Process) -> int:
    """Bytes of memory, where the system tells (Linux); pages of files apart, which go by
    themselves when memory is wanted."""
    try:
        with open(f"/proc/{process.pid}/statm") as file:
            _, resident, of_files, *_ = map(int, file.read().split())
    except OSError:
        return 0
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")


def _ask(process: _Process, task: Task, told: Told) -> Any:
    assert process.stdin and process.stdout
    try:
        send(process.stdin, orjson.dumps(task._asdict()))
        while (message := receive(process.stdout)) is not None:
            said = orjson.loads(message)
            if "result" in said or "error" in said:
                return unpack(said, told)
            told(said["told"])
    except BrokenPipeError:
        pass
    process.kill()  # it may only have closed its output
    process.communicate()
    return Died(_how(process.returncode))


def _how(status: int) -> str:
    if status >= 0:
        return f"with status {status}"
    name = signal.Signals(-status).name if -status in list(signal.Signals) else str(-status)
    known = {"SIGKILL": ", perhaps for want of memory", "SIGVTALRM": ", its time was over"}
    return f"by {name}{known.get(name, '')}"


def main() -> None:
    """A worker process: tasks come in by standard input; it ends with its input."""
    # Ctrl-C is the parent's business; when it goes, our input ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    # What libraries log about broken files is told as the reason to leave them out.
    logging.getLogger().addHandler(logging.NullHandler())
    # Whatever a library prints must not get into the messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def told(amount: int) -> None:
        send(out, orjson.dumps({"told": amount}))

    while (message := receive(sys.stdin.buffer)) is not None:
        send(out, orjson.dumps(answer(Task(**orjson.loads(message)), told)))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def answer(task: Task, told: Told) -> dict[str, Any]:
    """Carry a task out; its result or what went wrong, as plain data for `unpack`."""
    try:
        return {"result": carry_out(task, told)}
    except XunlianError as error:
        return {"error": str(error), "status": error.exit_status}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{task.function} failed: {error!r}", "status": 1}


def unpack(said: dict[str, Any], told: Told) -> Any:
    """The result out of an `answer`; its error is raised."""
    told(said.get("told", 0))
    if "error" in said:
        raise (InputError if said["status"] == 2 else XunlianError)(said["error"])
    return said["result"]
