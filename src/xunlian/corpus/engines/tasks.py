"""A job in pieces: tasks that any process may carry out, here or on another machine.

A task names a function and its arguments, both plain data. It writes its files whole or not at
all and returns a small JSON value, so it can be done again at any time, anywhere that sees the
same folders; the result never depends on who does it, or when.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

Told = Callable[[int], None]
"""Called with the bytes of input done since the last call."""


class Task(NamedTuple):
    """`function` is 'module:name'; it gets `arguments` by name, and `told` to report progress."""

    function: str
    arguments: dict[str, Any]


def carry_out(task: Task, told: Told) -> Any:
    """The task's JSON value."""
    module, name = task.function.split(":")
    return getattr(importlib.import_module(module), name)(**task.arguments, told=told)
