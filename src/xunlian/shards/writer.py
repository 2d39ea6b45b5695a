"""Write one split of a corpus as shards, in a stream.

Memory holds one batch; the index's arrays, whose length nobody knows before the end, wait in
temporary files beside the shard. A document is never spread over two shards, so a shard may pass
its limit by one document.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from xunlian.files import atomic_write
from xunlian.shards.format import pack_header

SHARD_TOKENS = 2**28
_COPY = 1 << 20  # bytes copied at once


class ShardWriter:
    """A context manager: `write` batches, leave the block, then read `shards`."""

    def __init__(
        self,
        folder: Path,
        split: str,
        dtype: np.dtype,
        shard_tokens: int = SHARD_TOKENS,
        column: str | None = None,
    ) -> None:
        self.folder, self.split, self.dtype = folder, split, dtype
        self.shard_tokens, self.column = shard_tokens, column
        self.shards: list[dict[str, Any]] = []
        self._open: _Shard | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        elif self._open:
            self._open.files.__exit__(kind, error, trace)

    def write(self, tokens: np.ndarray, lengths: np.ndarray, starts: np.ndarray) -> None:
        """Append sequences.

        Args:
            tokens: the ids of all sequences, one after the other.
            lengths: int32, the tokens of each sequence.
            starts: bool, whether a sequence begins a document (else it continues the last one).
        """
        assert len(tokens) == lengths.sum() and len(lengths) == len(starts)
        tokens = np.ascontiguousarray(tokens, dtype=self.dtype)
        first_sequence = first_token = 0
        ends = np.cumsum(lengths, dtype=np.int64)
        # Only documents that begin beyond the limit of the open shard can open a new one.
        while first_sequence < len(lengths):
            held = self._open.tokens if self._open else 0
            begins = ends - lengths - first_token + held
            over = starts & (begins >= self.shard_tokens)
            over[:first_sequence] = False
            cut = int(np.argmax(over)) if over.any() else len(lengths)
            if cut > first_sequence:
                if self._open is None:
                    name = f"{self.split}-{len(self.shards):05d}"
                    name += f".{self.column}" if self.column else ""
                    self._open = _Shard(self.folder / name, self.dtype)
                last_token = int(ends[cut - 1])
                self._open.append(
                    tokens[first_token:last_token],
                    lengths[first_sequence:cut],
                    starts[first_sequence:cut],
                )
                first_sequence, first_token = cut, last_token
            else:
                self._finish()

    def _finish(self) -> None:
        if self._open:
            column = {"column": self.column} if self.column else {}
            self.shards.append(self._open.finish() | column)
            self._open = None


class _Shard:
    """One .bin/.idx pair while it is being written."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self.dtype = path, dtype
        self.tokens = self.sequences = self.documents = 0
        self._sha = hashlib.sha256()
        self.files = ExitStack()  # closes them, and renames or removes the .bin
        self._lengths = self.files.enter_context(_temporary(path.parent))
        self._starts = self.files.enter_context(_temporary(path.parent))
        self._bin = self.files.enter_context(atomic_write(path.with_name(path.name + ".bin")))

    def append(self, tokens: np.ndarray, lengths: np.ndarray, starts: np.ndarray) -> None:
        data = tokens.data if len(tokens) else b""
        self._bin.write(data)
        self._sha.update(data)
        self._lengths.write(lengths.astype("<i4").tobytes())
        self._starts.write((np.flatnonzero(starts) + self.sequences).astype("<i8").tobytes())
        self.tokens += len(tokens)
        self.sequences += len(lengths)
        self.documents += int(starts.sum())

    def finish(self) -> dict[str, Any]:
        sha = hashlib.sha256()
        with atomic_write(self.path.with_name(self.path.name + ".idx")) as file:
            for part in self._index():
                file.write(part)
                sha.update(part)
        self.files.close()
        return {
            "name": self.path.name,
            "tokens": self.tokens,
            "documents": self.documents,
            "bin_sha256": self._sha.hexdigest(),
            "idx_sha256": sha.hexdigest(),
        }

    def _index(self) -> Iterator[bytes]:
        yield pack_header(self.dtype, self.sequences, self.documents)
        yield from _pieces(self._lengths)
        position = 0
        for piece in _pieces(self._lengths):
            sizes = np.frombuffer(piece, "<i4").astype("<i8") * self.dtype.itemsize
            ends = position + np.cumsum(sizes)
            yield (ends - sizes).tobytes()
            position = int(ends[-1])
        yield from _pieces(self._starts)
        yield np.array([self.sequences], "<i8").tobytes()


def _temporary(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_COPY):
        yield piece
