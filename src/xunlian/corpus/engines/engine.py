"""Who carries tasks out: processes on this machine, or Ray's on many. The result is the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xunlian.corpus.engines.tasks import Task, Told


@dataclass(frozen=True)
class Engine:
    """How a job is to run.

    Attributes:
        workers: processes; by default as many as there are cores, or as the text is worth.
        address: of a Ray cluster; by default one is started on this machine.
    """

    kind: Literal["local", "ray"] = "local"
    workers: int | None = None
    address: str | None = None


def run_tasks(
    tasks: Sequence[Task], engine: Engine, size: int, told: Told
) -> Iterator[tuple[int, Any]]:
    """(number of the task, its result), as they are done; `size` is the input's, in bytes."""
    if engine.kind == "ray":
        from xunlian.corpus.engines.cluster import run_on_ray

        yield from run_on_ray(tasks, engine.address, engine.workers, told)
    else:
        from xunlian.corpus.engines.pool import run_locally
        from xunlian.corpus.engines.workers import choose_workers

        yield from run_locally(tasks, engine.workers or choose_workers(size), told)
