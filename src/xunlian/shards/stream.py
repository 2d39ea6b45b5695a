"""A split's shards read as one long sequence of tokens, memory-mapped."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from xunlian.errors import InputError
from xunlian.shards.format import HEADER, index_size, read_header


@dataclass(frozen=True)
class Shard:
    """One .bin/.idx pair, mapped into memory: nothing is read before it is used."""

    tokens: np.ndarray  # [tokens]
    pointers: np.ndarray  # [sequences], bytes
    documents: np.ndarray  # [documents + 1], sequences

    def document_starts(self, first: int, last: int) -> np.ndarray:
        """Where documents first..last-1 begin, in tokens of this shard."""
        return self.pointers[self.documents[first:last]] // self.tokens.itemsize


@dataclass(frozen=True)
class TokenStream:
    """The concatenation of the shards of a split, as one sequence of token ids."""

    shards: tuple[Shard, ...]
    offsets: tuple[int, ...]  # where each shard begins, and the end
    document_count: int

    def __len__(self) -> int:
        return self.offsets[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop-1 as int64 [stop - start], across the borders of shards."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of {len(self)}")
        out = np.empty(stop - start, dtype=np.int64)
        at = bisect_right(self.offsets, start) - 1
        done = start
        while done < stop:
            begin, end = self.offsets[at], min(self.offsets[at + 1], stop)
            out[done - start : end - start] = self.shards[at].tokens[done - begin : end - begin]
            done, at = end, at + 1
        return out

    def bounds(self, first: int, last: int) -> np.ndarray:
        """Where documents first..last-1 begin in this stream, and where the last of them ends.

        int64 [last - first + 1], so `np.diff` of it gives their lengths, end tokens included.
        """
        if not 0 <= first <= last <= self.document_count:
            raise IndexError(f"documents {first} to {last} of {self.document_count}")
        out = np.full(last - first + 1, len(self), dtype=np.int64)
        before = 0  # documents of the shards before
        for shard, offset in zip(self.shards, self.offsets, strict=False):
            count = len(shard.documents) - 1
            # The end of the last one is the start of the next one, if there is one.
            begin, end = max(first - before, 0), min(last + 1 - before, count)
            if begin < end:
                place = before + begin - first
                out[place : place + end - begin] = offset + shard.document_starts(begin, end)
            before += count
        return out

    def spans(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of each document in this stream, its end token included."""
        for shard, offset in zip(self.shards, self.offsets, strict=False):
            count = len(shard.documents) - 1
            for first in range(0, count, 65536):
                last = min(first + 65536, count)
                starts = shard.document_starts(first, min(last + 1, count)).tolist()
                if last == count:
                    starts.append(len(shard.tokens))
                for start, stop in pairwise(starts):
                    yield offset + start, offset + stop

    def documents(self) -> Iterator[np.ndarray]:
        """Each document whole, as int64 with the end token last."""
        for start, stop in self.spans():
            yield self.read(start, stop)


def open_shard(base: Path) -> Shard:
    """Map BASE.bin and BASE.idx.

    Raises:
        InputError: one is missing, or its size is not what the index says.
    """
    binary, index = base.with_name(base.name + ".bin"), base.with_name(base.name + ".idx")
    for path in (binary, index):
        if not path.is_file():
            raise InputError(f"'{path}' is missing. Prepare the corpus again.")
    try:
        with open(index, "rb") as file:
            dtype, sequences, documents = read_header(file)
    except ValueError as error:
        raise InputError(f"'{index}' is damaged: {error}. Prepare the corpus again.") from error
    if index.stat().st_size != index_size(sequences, documents):
        raise InputError(f"'{index}' is damaged: its size is wrong. Prepare the corpus again.")

    def part(kind: str, offset: int, count: int) -> np.ndarray:
        if not count:
            return np.empty(0, kind)
        return np.memmap(index, mode="r", dtype=kind, offset=offset, shape=(count,))

    after_lengths = HEADER.size + 4 * sequences
    pointers = part("<i8", after_lengths, sequences)
    starts = part("<i8", after_lengths + 8 * sequences, documents + 1)
    length = 0
    if sequences:
        last = int(part("<i4", HEADER.size, sequences)[-1])
        length = int(pointers[-1]) // dtype.itemsize + last
    if binary.stat().st_size != length * dtype.itemsize:
        raise InputError(f"'{binary}' is damaged: its size is wrong. Prepare the corpus again.")
    tokens = np.memmap(binary, mode="r", dtype=dtype) if length else np.empty(0, dtype)
    return Shard(tokens, pointers, starts)


def open_stream(bases: Sequence[Path]) -> TokenStream:
    """The stream of these shards (paths without .bin or .idx), in this order."""
    shards = tuple(open_shard(base) for base in bases)
    offsets = [0]
    for shard in shards:
        offsets.append(offsets[-1] + len(shard.tokens))
    documents = sum(len(shard.documents) - 1 for shard in shards)
    return TokenStream(shards, tuple(offsets), documents)
