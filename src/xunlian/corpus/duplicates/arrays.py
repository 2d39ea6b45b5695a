"""Several named arrays in one file, written whole, read by mapping it into memory.

The arrays, each at a multiple of 64 bytes, then a line of JSON that describes them, then that
line's length. So an array can be written while it is made, and no array has to fit in memory.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from xunlian.errors import InputError
from xunlian.files import atomic_write

_LENGTH = struct.Struct("<Q")
Arrays = dict[str, np.ndarray]


class ArraysWriter:
    """Made by `writing`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0
        self._parts: dict[str, tuple[str, list[int], int]] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        """Write an array; again with the same name, right after: more rows of it."""
        if name in self._parts:
            assert name == next(reversed(self._parts))
            dtype, shape, begin = self._parts[name]
            self._parts[name] = (dtype, [shape[0] + len(array), *shape[1:]], begin)
        else:
            padding = -self._at % 64
            self._file.write(bytes(padding))
            self._at += padding
            self._parts[name] = (array.dtype.str, list(array.shape), self._at)
        data = np.ascontiguousarray(array)
        self._file.write(data.data)
        self._at += data.nbytes

    def _close(self) -> None:
        footer = orjson.dumps(self._parts)
        self._file.write(footer + _LENGTH.pack(len(footer)))


@contextmanager
def writing(path: Path) -> Iterator[ArraysWriter]:
    """The file appears when the block ends well."""
    with atomic_write(path) as file:
        writer = ArraysWriter(file)
        yield writer
        writer._close()


def write_arrays(path: Path, arrays: Arrays) -> None:
    with writing(path) as writer:
        for name, array in arrays.items():
            writer.add(name, array)


def open_arrays(path: Path) -> Arrays:
    """The arrays, read only and not yet in memory.

    Raises:
        InputError: the file is missing or damaged.
    """
    return map_arrays(path)[1]


def map_arrays(path: Path) -> tuple[mmap.mmap, Arrays]:
    """The same, with the map that they are views of."""
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = _LENGTH.unpack(data[-_LENGTH.size :])[0]
        parts = orjson.loads(data[-_LENGTH.size - size : -_LENGTH.size])
        return data, {
            name: np.frombuffer(data, dtype, int(np.prod(shape)), begin).reshape(shape)
            for name, (dtype, shape, begin) in parts.items()
        }
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"'{path}' is missing or damaged: make it again ({error}).") from error
