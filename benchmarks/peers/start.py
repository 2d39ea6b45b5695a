"""Starts one side in a process of its own and gathers what it tells."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from peers.child import MARK

BENCHMARKS = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """A side did not run to its end; the text says why."""


class Line(NamedTuple):
    seconds: float  # since the process was started
    text: str


def start(
    module: str,
    folder: Path,
    arguments: dict[str, Any],
    python: str = sys.executable,
    source: Path | None = None,
) -> list[Line]:
    """Run `child` of peers/MODULE.py in `folder`; what it printed, with the time of each line.

    Args:
        source: packages in this folder come before those that are installed.

    Raises:
        Failed: it ended with another status than 0.
    """
    folders = [source, BENCHMARKS, os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(str(one) for one in folders if one)
    command = [python, "-m", f"peers.{module}", json.dumps(arguments)]
    lines = []
    with tempfile.TemporaryDirectory(prefix="cold-") as cache, tempfile.TemporaryFile() as errors:
        started = time.time()
        with subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "PYTHONUNBUFFERED": "1",
                "TORCHINDUCTOR_CACHE_DIR": cache,
                "BENCH_STARTED": str(started),
            },
        ) as process:
            assert process.stdout
            for text in process.stdout:
                lines.append(Line(time.time() - started, text.rstrip("\n")))
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise Failed("\n".join(["It failed:", *said[-15:]]))
    return lines


def facts(lines: list[Line]) -> list[dict[str, Any]]:
    """What `tell` said, in order."""
    return [json.loads(text.removeprefix(MARK)) for _, text in lines if text.startswith(MARK)]


def gather(told: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of what a child told: its points (those with a loss) as a curve, all else as it is.

    The row's seconds, tokens and loss are those of the last point; its speed is that of the steps
    after the first, which compiles.
    """
    curve = [fact for fact in told if "loss" in fact]
    row: dict[str, Any] = {}
    for fact in told:
        if "loss" not in fact:
            row |= fact
    row |= {**curve[-1], "curve": curve}
    if "first_step_tokens" in row and row["tokens"] > row["first_step_tokens"]:
        tokens = row["tokens"] - row.pop("first_step_tokens")
        row["tokens_per_second"] = tokens / (row["seconds"] - row["first_step_seconds"])
    return row
