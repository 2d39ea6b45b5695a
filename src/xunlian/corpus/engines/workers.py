"""Encode batches in several processes, results in order.

Plain child processes with pipes rather than `multiprocessing`: spawning there imports the user's
own script again (which then has to guard its main part), and forking after the tokenizer library
has started its threads can hang.
"""

import os
import queue
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson

from xunlian.corpus.encode import Encoded, Sequenced, encode
from xunlian.corpus.engines.worker import receive, send, start, unpack_result
from xunlian.errors import XunlianError
from xunlian.tokenizer.sides import Sides

Result = tuple[dict[str, Encoded], dict[str, int]]

_BYTES_PER_WORKER = 4_000_000  # less text than this does not pay for starting a process


def choose_workers(text_bytes: int) -> int:
    """As many as there are cores, but not for a small text."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, text_bytes // _BYTES_PER_WORKER))


def encode_all(
    batches: Iterable[Sequence[Sequenced]],
    tokenizers: Sides,
    tokenizer_folder: Path,
    dtype: np.dtype,
    workers: int,
) -> Iterator[Result]:
    """The result of each batch, in order, whatever the number of workers.

    With one worker all is done in this process.

    Raises:
        XunlianError: a worker died (it ran out of memory, or was killed).
    """
    if workers == 1:
        for batch in batches:
            yield encode(batch, tokenizers, dtype)
        return
    setup = orjson.dumps({"tokenizer": str(tokenizer_folder.resolve()), "dtype": dtype.str})
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
    processes = [_start() for _ in range(workers)]
    for process in processes:
        assert process.stdin
        send(process.stdin, setup)
        idle.put(process)

    def work(batch: Sequence[Sequenced]) -> Result:
        process = idle.get()
        assert process.stdin and process.stdout
        try:
            send(process.stdin, orjson.dumps([tuple(item) for item in batch]))
            message = receive(process.stdout)
        except BrokenPipeError:
            message = None
        idle.put(process)
        if message is None:
            raise XunlianError(
                f"A worker process ended (status {process.wait()}), perhaps for want of memory. "
                "Try again with fewer: --workers 1."
            )
        return unpack_result(message, dtype)

    # One thread for each process: it writes a batch and waits for the answer.
    threads = ThreadPoolExecutor(workers)
    try:
        waiting: deque[Future[Result]] = deque()
        for batch in batches:
            waiting.append(threads.submit(work, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.communicate()


def _start() -> "subprocess.Popen[bytes]":
    return start("xunlian.corpus.engines.worker")
