"""The local engine: tasks in a pool of processes, one core each.

Plain child processes with pipes, for the reasons that workers.py gives. A process is given the
next task when it has done one; it sends messages of progress, then the result.
"""

import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import orjson

from xunlian.corpus.engines.tasks import Task, Told, carry_out
from xunlian.corpus.engines.worker import receive, send, start
from xunlian.errors import InputError, XunlianError


def run_locally(tasks: Sequence[Task], workers: int, told: Told) -> Iterator[tuple[int, Any]]:
    """(number of the task, its result), as they are done. One worker is this process itself.

    Raises:
        InputError, XunlianError: what a task raised first; those under way are given up.
    """
    if min(workers, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            yield number, carry_out(task, told)
        return
    idle = deque(_start() for _ in range(min(workers, len(tasks))))
    every = list(idle)
    threads = ThreadPoolExecutor(len(every))
    left = deque(enumerate(tasks))
    running: dict[Future[Any], tuple[int, subprocess.Popen[bytes]]] = {}
    try:
        while left or running:
            while left and idle:
                number, task = left.popleft()
                process = idle.popleft()
                running[threads.submit(_ask, process, task, told)] = number, process
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number, process = running.pop(future)
                idle.append(process)
                yield number, future.result()
    finally:
        for process in every:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in every:
            process.communicate()


def _ask(process: "subprocess.Popen[bytes]", task: Task, told: Told) -> Any:
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
    raise XunlianError(
        f"A worker process ended (status {process.wait()}), perhaps for want of memory. What is "
        "done stays: start again, with fewer processes if need be (--workers 1)."
    )


def _start() -> "subprocess.Popen[bytes]":
    return start("xunlian.corpus.engines.pool")


def main() -> None:
    """A worker process: tasks come in by standard input; it ends with its input."""
    # Ctrl-C is the parent's business; when it goes, our input ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints must not get into the messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def told(amount: int) -> None:
        send(out, orjson.dumps({"told": amount}))

    while (message := receive(sys.stdin.buffer)) is not None:
        send(out, orjson.dumps(answer(Task(**orjson.loads(message)), told)))


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
