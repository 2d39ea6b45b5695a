"""Lines of any length in bounded memory."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T", str, bytes)


def split_lines(blocks: Iterator[T], newline: T, limit: int) -> Iterator[T | None]:
    """Each line without its line feed; None for one longer than `limit`, which is never held.

    Not `splitlines()`: that also splits at characters that are text inside a field.
    """
    held: list[T] = []
    size = 0
    empty = newline[:0]
    seen = False
    for block in blocks:
        seen = True
        lines: list[T] = block.split(newline)
        rest: T = lines.pop()
        if lines and held:
            size += len(lines[0])
            held.append(lines.pop(0))
            yield None if size > limit else empty.join(held)
            held, size = [], 0
        for line in lines:
            yield None if len(line) > limit else line
        size += len(rest)
        if size <= limit:
            held.append(rest)
        else:
            held = [empty]  # only remembers that a line has begun
    if seen and (size > limit or any(held)):
        yield None if size > limit else empty.join(held)
