"""Carrying out the tasks of a job: one for each chunk of documents, shown while they run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xunlian.corpus.columns import marker_path
from xunlian.corpus.display import Display
from xunlian.corpus.engines.engine import Engine, run_tasks
from xunlian.corpus.engines.tasks import Task
from xunlian.corpus.tally import Tally
from xunlian.corpus.work import key_of
from xunlian.files import read_json


class Chunk(NamedTuple):
    """A bounded amount of the documents of one source.

    Attributes:
        group: the source of the mixture that it belongs to.
        pages: whether it may hold web pages.
        size: bytes of its text, about.
        stages, keys: the names of the stages it went through, and the key of what came out.
    """

    name: str
    group: str
    held_out: bool
    pages: bool
    size: float
    stages: list[str]
    keys: list[str]

    def all_stages(self) -> list[str]:
        """With the reading, which all begins with."""
        return ["read", *self.stages]


class Runner:
    """Runs tasks in the folder `work`; `size` is that of the job's input, in bytes."""

    def __init__(self, work: Path, engine: Engine, size: int) -> None:
        self.work, self.engine, self.size = work, engine, size
        self.display = Display()

    def each(
        self,
        name: str,
        function: str,
        chunks: Sequence[Chunk],
        arguments: Callable[[Chunk], dict[str, Any]],
        shared: Mapping[str, Any] | None = None,
        sizes: Sequence[float] | None = None,
        count: Callable[[int], None] | None = None,
    ) -> None:
        """A task for each chunk; its key stands for its arguments, but not for the `shared` ones,
        and for all that was done with the chunk before."""
        tasks = []
        for chunk in chunks:
            own = arguments(chunk)
            if "keys" not in own:
                own["key"] = key_of(chunk.keys, own)
            own.pop("fingerprint", None)
            call = {**own, **(shared or {}), "chunk": chunk.name}
            tasks.append(Task(f"xunlian.corpus.chunk_tasks:{function}", call))
        self.run(name, tasks, sizes, count)

    def run(
        self,
        name: str,
        tasks: Sequence[Task],
        sizes: Sequence[float] | None = None,
        count: Callable[[int], None] | None = None,
    ) -> None:
        """Carry the tasks out. `sizes` are theirs in bytes, where they tell of them; `count` is
        called with the number of each that is done."""
        work = str(self.work.resolve())
        calls = [Task(task.function, {**task.arguments, "work": work}) for task in tasks]
        with self.display.step(name, len(tasks), sizes) as step:
            for number, _ in run_tasks(calls, self.engine, self.size, step.told):
                step.done(number)
                if count:
                    count(number)

    def tally(self, stage: str, chunk: str) -> Tally:
        """What a stage did with a chunk."""
        return Tally.of(read_json(marker_path(self.work, stage, chunk)))

    def count(self, stage: str, chunk: str) -> None:
        """Show what a stage did with a chunk."""
        tally = self.tally(stage, chunk)
        self.display.count(stage, tally.pieces, sum(tally.dropped.values()))
