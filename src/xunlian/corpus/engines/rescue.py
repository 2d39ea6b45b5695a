"""Tasks whose process died: done again, carefully, until what kills it is known and left out.

A library may crash on one file or document (a segmentation fault), or take more memory than there
is, so that the system kills the process. Such a task is done once more, behind all others and in a
fresh process, one document at a time, and leaves a trail (corpus/trail.py). If that process dies,
too, the trail names the culprit to the next one, which sets it aside, or stops.
"""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xunlian.corpus.engines.tasks import Died, Run, Task, Told
from xunlian.errors import InputError, XunlianError

MOST_DEATHS = 50
"""Of one task. With so many culprits in one chunk of text, something else is wrong."""


def run_all(
    run: Run, run_again: Run, tasks: Sequence[Task], told: Told
) -> Iterator[tuple[int, Any]]:
    """(number of the task, its result), as they are done.

    Raises:
        InputError: what a task says is wrong with the input; or its process dies twice, and
            nothing can be left out of it.
        XunlianError: as the tasks; or processes die whatever is left out.
    """
    died: dict[int, Died] = {}
    for number, result in run(tasks, told):
        if isinstance(result, Died):
            died[number] = result
        else:
            yield number, result
    # A trail that was left before this start blames nobody: that job may have been killed.
    starts = {number: secrets.token_hex(8) for number in died}
    deaths = dict.fromkeys(died, 0)
    while died:
        numbers = sorted(died)
        again = [_careful(tasks[n], starts[n], died[n]) for n in numbers]
        for place, result in run_again(again, lambda _: None):  # whose bytes were told before
            number = numbers[place]
            if not isinstance(result, Died):
                del died[number]
                yield number, result
                continue
            died[number] = result
            deaths[number] += 1
            if not result.blamed:
                starts[number] = secrets.token_hex(8)
            careful = tasks[number].can_be_careful
            if not careful or deaths[number] > MOST_DEATHS:
                # With care the culprit would be known, if one document were to blame.
                raise (XunlianError if careful else InputError)(
                    f"A worker process ended ({result.how}) each time at {_name(tasks[number])}. "
                    "If it was for want of memory, start again with fewer processes (--workers 1); "
                    "else leave that file out. What is done stays."
                )


def _careful(task: Task, start: str, died: Died) -> Task:
    if not task.can_be_careful:
        return task
    suspicion = {"start": start, "how": died.how}
    return Task(task.function, {**task.arguments, "suspicion": suspicion})


def _name(task: Task) -> str:
    function = task.function.split(":")[1]
    if "part" in task.arguments:
        return f"'{task.arguments['part']['source']['name']}' ({function})"
    if "chunk" not in task.arguments:
        return function
    from xunlian.corpus.columns import read_columns

    first = next(read_columns(Path(task.arguments["work"]), "read", task.arguments["chunk"]))
    return f"the text from '{first['id'][0]}' on ({function})"
