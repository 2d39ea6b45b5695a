"""What the user sees while a command runs. All of it goes to standard error; results do not.

Only one process of a group speaks (`quiet()` silences the others).
"""

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_COMMANDS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}


@cache
def console() -> "Console":
    """The one console of this process, on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def quiet() -> None:
    """Silence this process: it is not the one that speaks for its group."""
    console().quiet = True


def harmless(text: str) -> str:
    """Text of others for a terminal: characters that would command it are spelled out."""
    return text.translate(_COMMANDS)


def shown(text: str) -> str:
    """`text` for standard output: harmless where that is a terminal, else as it is."""
    return harmless(text) if sys.stdout.isatty() else text


def say(message: str) -> None:
    """One line of progress or explanation. Square brackets are text, not markup."""
    console().print(harmless(message), markup=False)


def warn(message: str) -> None:
    """One line the user should notice."""
    from rich.text import Text

    console().print(Text(f"warning: {harmless(message)}", style="yellow"))


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
