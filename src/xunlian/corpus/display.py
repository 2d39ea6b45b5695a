"""What a preparation shows while it runs: in a terminal a table of the stages so far with a bar for
what is being done, elsewhere a line now and then.

Everything shown comes from tasks that are done and from what those under way tell of the amount, so
it is the same whoever carries them out.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from xunlian.console import console, say
from xunlian.report.units import format_bytes, short_time

if TYPE_CHECKING:
    from rich.console import RenderableType

SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Counts:
    """Documents that came to a stage and that it left out, so far."""

    given: int = 0
    left_out: int = 0


class Display:
    """The stages of a job, counted over all of its steps."""

    def __init__(self) -> None:
        self.stages: dict[str, Counts] = {}

    def count(self, stage: str, given: int, left_out: int) -> None:
        """A stage is through with one more chunk."""
        counts = self.stages.setdefault(stage, Counts())
        counts.given += given
        counts.left_out += left_out

    @contextmanager
    def step(self, name: str, tasks: int, sizes: Sequence[float] | None = None) -> "Iterator[Step]":
        """One step of the job, while it lasts; one of ten seconds or more leaves a line.

        Args:
            sizes: of each task, in bytes; without them the tasks are counted.
        """
        step = Step(self, name, tasks, sizes)
        if console().is_terminal and tasks:
            from rich.live import Live

            with Live(
                get_renderable=step.table, console=console(), transient=True, refresh_per_second=4
            ):
                yield step
        else:
            yield step
        if step.seconds() >= SECONDS_BETWEEN_LINES:
            say(step.line())


class Step:
    """How far one step is. `told` may be called from any thread."""

    def __init__(
        self, display: Display, name: str, tasks: int, sizes: Sequence[float] | None
    ) -> None:
        self.display, self.name, self.tasks, self.sizes = display, name, tasks, sizes
        self.total = sum(sizes) if sizes else float(tasks)
        self._told = self._done = 0.0
        self._started = self._last_line = time.monotonic()
        self._lock = Lock()

    def told(self, amount: int) -> None:
        """So many bytes more are done."""
        with self._lock:
            self._told += amount
        self._say_now_and_then()

    def done(self, number: int) -> None:
        """A task is done; one that was done before told nothing of it."""
        with self._lock:
            self._done += self.sizes[number] if self.sizes else 1
        self._say_now_and_then()

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def amount(self) -> float:
        """Bytes or tasks done, at most all."""
        return min(self.total, max(self._told if self.sizes else 0, self._done))

    def progress(self) -> str:
        """Such as '38 of 61 MB, 3.1 MB/s, 7 s left'."""
        amount, seconds = self.amount(), max(self.seconds(), 1e-9)
        worked = (self._told if self.sizes else 0) or self._done
        ends = amount >= self.total
        if self.sizes:
            how_far = "" if ends else f"{format_bytes(amount)} of "
            parts = [f"{how_far}{format_bytes(self.total)}"]
            if worked:
                parts.append(f"{worked / seconds / 1e6:.2f} MB/s")
        else:
            parts = [f"{'' if ends else f'{amount:,.0f} of '}{self.tasks:,} tasks"]
        if ends:
            parts.append(f"in {short_time(seconds)}")
        elif worked:
            parts.append(f"{short_time((self.total - amount) * seconds / worked)} left")
        return ", ".join(parts)

    def line(self) -> str:
        """The step on one line, with what the stages have left out so far."""
        stages = self.display.stages
        if not stages:
            return f"{self.name}: {self.progress()}"
        last = list(stages.values())[-1]
        gone = [f"{one.left_out:,} by {stage}" for stage, one in stages.items() if one.left_out]
        return f"{self.name}: {self.progress()}; {last.given - last.left_out:,} documents kept" + (
            f", left out {', '.join(gone)}" if gone else ""
        )

    def table(self) -> "RenderableType":
        """The stages so far, and a bar for this step."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        stages = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
        stages.add_column("stage")
        for name in ("documents", "kept", "left out"):
            stages.add_column(name, justify="right")
        for stage, one in list(self.display.stages.items()):
            out = Text(f"{one.left_out:,}" if one.left_out else "", style="yellow")
            stages.add_row(stage, f"{one.given:,}", f"{one.given - one.left_out:,}", out)
        bar = Table.grid(padding=(0, 2, 0, 0))
        shown = ProgressBar(total=max(self.total, 1), completed=self.amount(), width=30)
        bar.add_row(Text(self.name, style="bold"), shown, self.progress())
        return Group(stages, bar) if self.display.stages else bar

    def _say_now_and_then(self) -> None:
        if console().is_terminal:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._last_line < SECONDS_BETWEEN_LINES:
                return
            self._last_line = now
            line = self.line()
        say(line)
