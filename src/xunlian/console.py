"""What the user sees while a command runs. All of it goes to standard error; results do not.

Only one process of a group speaks (`quiet()` silences the others).
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@cache
def console() -> "Console":
    """The one console of this process, on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def quiet() -> None:
    """Silence this process: it is not the one that speaks for its group."""
    console().quiet = True


def say(message: str) -> None:
    """One line of progress or explanation. Square brackets are text, not markup."""
    console().print(message, markup=False)


def warn(message: str) -> None:
    """One line the user should notice."""
    from rich.text import Text

    console().print(Text(f"warning: {message}", style="yellow"))


def progress(*columns: object) -> "Progress":
    """A progress bar (a context manager) that stays silent where nobody watches a terminal."""
    from rich import progress as bars

    shown = columns or (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
    )
    return bars.Progress(*shown, console=console(), disable=not console().is_terminal)  # type: ignore[arg-type]
