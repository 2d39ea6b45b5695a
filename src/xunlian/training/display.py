"""What training shows while it runs: a live bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

from rich.progress import BarColumn, Progress, TextColumn

from xunlian.console import console, say

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """A context manager; `update` may be called after every step, it is cheap."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=console(),
            disable=not console().is_terminal,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("starting", total=1.0)
        self._last_line = time.monotonic()
        self._val = ""

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def validated(self, loss: float, also: Mapping[str, float] = MappingProxyType({})) -> None:
        """`also`: further means of the validation, by name."""
        others = "".join(f", {name.replace('_', ' ')} {value:.3f}" for name, value in also.items())
        self._val = f"  val {loss:.4f}{others}"

    def update(
        self,
        *,
        progress: float,
        step: int,
        loss: float,
        tokens_per_second: float,
        mfu: float,
        seconds_left: float,
    ) -> None:
        """Show where training is; `progress` from 0 to 1, `loss` in nats per token."""
        text = (
            f"{min(progress, 1):4.0%}  step {step}  loss {loss:.4f}{self._val}  "
            f"{tokens_per_second:,.0f} tok/s  MFU {mfu:.0%}  {duration(seconds_left)} left"
        )
        self._bar.update(self._task, completed=min(progress, 1.0), description=text)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            say("train " + text)


def duration(seconds: float) -> str:
    """'1:05' or '2:03:10'."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
