"""A training in a process of its own, so that each begins as if it were alone.

Whatever a training leaves behind (compiled code, freed memory, an imported library) would be a gift
to the next one. The price of starting is part of every wall-clock budget anyway, and so is that of
compiling: each begins with an empty cache of compiled code.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from xunlian.errors import InputError, Interrupted, XunlianError


def train_in_child(arguments: Sequence[str]) -> None:
    """Run `xunlian train` with these arguments; what it says goes to our standard error.

    Raises:
        Interrupted: it was stopped by Ctrl-C or SIGTERM, which is passed on to it; its checkpoint
            is written.
        XunlianError: it failed; it has said why.
        InputError: it found its input wrong; likewise.
    """
    # A process group of its own: the terminal's Ctrl-C would reach it twice, and a second one
    # leaves no time for a checkpoint.
    with (
        tempfile.TemporaryDirectory(prefix="xunlian-compiled-") as cache,
        subprocess.Popen(
            # -P: no module of the folder it is started in.
            [sys.executable, "-P", "-m", "xunlian", "train", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
            process_group=0,
        ) as child,
    ):
        status = _wait(child)
    raise_for(status, arguments)


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """Its exit status; an interruption is passed on once, and a second one ends it at once."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        try:
            child.wait()
        except BaseException:
            child.kill()
            raise
        return Interrupted.exit_status


def raise_for(status: int, arguments: Sequence[str]) -> None:
    """The error that an exit status of `xunlian train` stands for; none for 0."""
    if status == Interrupted.exit_status:
        raise Interrupted("stopped; what was trained is kept. Go on with the same command.")
    if status == InputError.exit_status:
        raise InputError(f"`xunlian train {' '.join(arguments)}` cannot go on, as it says above.")
    if status:
        raise XunlianError(
            f"`xunlian train {' '.join(arguments)}` failed with status {status}. Mend what it says "
            "above and give the same command again: finished runs are kept."
        )
