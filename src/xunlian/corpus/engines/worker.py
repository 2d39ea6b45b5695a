"""A worker process: batches come in by standard input, tokens go out by standard output.

The messages are JSON and raw arrays: a length (u64), then so many bytes. Ends with its input.
Started by workers.py as `python -c "from xunlian.corpus.engines.worker import main; main()"`.
"""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

import xunlian
from xunlian.corpus.encode import Encoded, Sequenced, encode

_LENGTH = struct.Struct("<Q")


def send(file: IO[bytes], *parts: bytes) -> None:
    file.write(_LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        file.write(part)
    file.flush()


def receive(file: IO[bytes]) -> bytes | None:
    """The next message, or None when the other side is gone."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    message = file.read(size)
    return message if len(message) == size else None


def start(module: str) -> "subprocess.Popen[bytes]":
    """A process that runs the `main` of a module, with pipes to talk through."""
    package = str(Path(xunlian.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        # -P: no module of the folder it is started in.
        [sys.executable, "-P", "-c", f"from {module} import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
    )


def pack_result(parts: dict[str, Encoded], changes: dict[str, int]) -> list[bytes]:
    """A JSON line that describes the arrays, then the arrays."""
    arrays: list[bytes] = []
    splits: dict[str, Any] = {}
    for split, part in parts.items():
        arrays += [part.tokens.tobytes(), part.lengths.tobytes(), part.starts.tobytes()]
        splits[split] = {"counts": part.counts, "sizes": [len(array) for array in arrays[-3:]]}
    return [orjson.dumps({"splits": splits, "changes": changes}), b"\n", *arrays]


def unpack_result(message: bytes, dtype: np.dtype) -> tuple[dict[str, Encoded], dict[str, int]]:
    at = message.index(b"\n")
    head = orjson.loads(message[:at])
    at += 1
    parts: dict[str, Encoded] = {}
    for split, part in head["splits"].items():
        arrays: list[np.ndarray] = []
        kinds = (dtype, np.dtype(np.int32), np.dtype(np.bool_))
        for size, kind in zip(part["sizes"], kinds, strict=True):
            arrays.append(np.frombuffer(message[at : at + size], dtype=kind))
            at += size
        tokens, lengths, starts = arrays
        parts[split] = Encoded(tokens, lengths, starts, part["counts"])
    return parts, head["changes"]


def main() -> None:
    # Ctrl-C is the parent's business; when it goes, our input ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process, one core
    from xunlian.tokenizer.sides import load_sides

    # Whatever a library prints must not get into the messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setup = orjson.loads(receive(sys.stdin.buffer) or b"{}")
    if not setup:
        return
    tokenizers = load_sides(setup["tokenizer"])
    dtype = np.dtype(setup["dtype"])
    while (message := receive(sys.stdin.buffer)) is not None:
        batch = [Sequenced(*item) for item in orjson.loads(message)]
        parts, changes = encode(batch, tokenizers, dtype)
        send(out, *pack_result(parts, changes))
