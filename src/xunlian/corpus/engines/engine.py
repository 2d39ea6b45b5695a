"""Who carries tasks out: processes on this machine, or Ray's on many. The result is the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from xunlian.corpus.engines.rescue import run_all
from xunlian.corpus.engines.tasks import Run


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


@contextmanager
def started(engine: Engine, size: int) -> Iterator[Run]:
    """Carries tasks out, whatever becomes of the processes that do; `size` is the input's, in
    bytes."""
    if engine.kind == "ray":
        from xunlian.corpus.engines.cluster import on_ray

        run = on_ray(engine.address, engine.workers)
        yield partial(run_all, run, run)
    else:
        from xunlian.corpus.engines.pool import Pool
        from xunlian.corpus.engines.workers import choose_workers

        with Pool(engine.workers or choose_workers(size)) as pool:
            # What died for want of memory may need that of the others.
            yield partial(run_all, pool.run, pool.run_alone)
