"""A job in pieces: tasks that any process may carry out, here or on another machine.

A task names a function and its arguments, both plain data. It writes its files whole or not at
all and returns a small JSON value, so it can be done again at any time, anywhere that sees the
same folders; the result never depends on who does it, or when.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

Told = Callable[[int], None]
"""Called with the bytes of input done since the last call."""


class Task(NamedTuple):
    """`function` is 'module:name'; it gets `arguments` by name, and `told` to report progress."""

    function: str
    arguments: dict[str, Any]

    @property
    def can_be_careful(self) -> bool:
        """Whether it also takes `suspicion` (trail.py): then it finds what kills its process."""
        return "suspicion" in inspect.signature(_named(self.function)).parameters


class Died(NamedTuple):
    """What comes of a task whose process ended before it, instead of a result.

    Attributes:
        how: in words.
        blamed: whether it may have been the task's doing, not that of a machine that was lost.
    """

    how: str
    blamed: bool = True


Run = Callable[[Sequence[Task], Told], Iterator[tuple[int, Any]]]
"""Carries tasks out; (number of the task, its result or `Died`), as they are done."""


def carry_out(task: Task, told: Told) -> Any:
    """The task's JSON value."""
    return _named(task.function)(**task.arguments, told=told)


def _named(function: str) -> Callable[..., Any]:
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
