"""The errors a user can meet, and the exit status each one ends the program with.

A message is one sentence or two: what is wrong, with the file, key or value at fault, and the
mend. Whatever is not a `XunlianError` is a defect of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class XunlianError(Exception):
    """Something the user can understand and act on. It failed while running: exit status 1."""

    exit_status = 1


class InputError(XunlianError):
    """The user's input is wrong and nothing was left behind: exit status 2."""

    exit_status = 2


class Interrupted(XunlianError):
    """The user stopped it (Ctrl-C, SIGTERM); what was done is saved: exit status 130."""

    exit_status = 130


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """' Did you mean ...?' with the nearest of `choices`, or '' when none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
