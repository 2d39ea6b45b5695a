"""The tokens of all chunks, one after the other, into shards."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from xunlian.corpus.chunk_tasks import SPLITS, array_path
from xunlian.corpus.columns import marker_path
from xunlian.corpus.kept_text import text_path
from xunlian.corpus.sample import PHI
from xunlian.files import read_json
from xunlian.shards.writer import ShardWriter

_TOKENS = 1 << 22  # copied at once, about


def assemble(
    work: Path,
    chunks: Sequence[str],
    copies: Mapping[str, float],
    folder: Path,
    dtype: np.dtype,
    shard_tokens: int,
) -> dict[str, dict[str, Any]]:
    """Write the shards of every split into `folder`; the splits' cards.

    Args:
        copies: how often the training text of a chunk is written, where it is not once.
    """
    cards: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        total: Counter[str] = Counter()
        counts = {
            chunk: read_json(marker_path(work, "tokens", chunk))["splits"][split]
            for chunk in chunks
        }
        wanted = {chunk: copies.get(chunk, 1.0) if split == "train" else 1.0 for chunk in chunks}
        documents_of = [counts[chunk].get("documents", 0) for chunk in chunks]
        before = dict(zip(chunks, accumulate(documents_of, initial=0), strict=False))
        with ShardWriter(folder, split, dtype, shard_tokens) as writer:
            for turn in range(ceil(max(wanted.values()))):
                for chunk in chunks:
                    share = min(1.0, wanted[chunk] - turn)
                    if share > 0 and counts[chunk].get("tokens"):
                        documents, tokens = _copy(
                            work, chunk, split, dtype, writer, share, before[chunk]
                        )
                        total.update(documents=documents, tokens=tokens)
        for unit in ("bytes", "characters", "words"):
            total[unit] = round(sum(counts[c].get(unit, 0) * wanted[c] for c in chunks))
        counted = ("documents", "tokens", "bytes", "characters", "words")
        cards[split] = {key: total[key] for key in counted} | {"shards": writer.shards}
    return cards


def keep_texts(work: Path, chunks: Sequence[str], folder: Path) -> None:
    """Put the documents that `kept_text` wrote into the corpus; the work folder keeps them, too."""
    (folder / "text").mkdir()
    for chunk in chunks:
        try:
            os.link(text_path(work, chunk), text_path(folder, chunk))
        except OSError:  # another file system
            shutil.copyfile(text_path(work, chunk), text_path(folder, chunk))


def _copy(
    work: Path,
    chunk: str,
    split: str,
    dtype: np.dtype,
    writer: ShardWriter,
    share: float,
    before: int,
) -> tuple[int, int]:
    """Append a share of a chunk's documents; how many they are, and their tokens. `before` are the
    documents of the chunks before it."""
    tokens = np.memmap(array_path(work, chunk, split, "bin"), dtype, "r")
    lengths = np.fromfile(array_path(work, chunk, split, "lengths"), "<i4")
    starts = np.fromfile(array_path(work, chunk, split, "starts"), np.bool_)
    ends = np.cumsum(lengths, dtype=np.int64)
    chosen = _spread(starts, share, before)
    first = done = 0
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(ends, done + _TOKENS)))
        stop = int(ends[last - 1])
        taken = chosen[first:last]
        writer.write(
            tokens[done:stop][np.repeat(taken, lengths[first:last])],
            lengths[first:last][taken],
            starts[first:last][taken],
        )
        first, done = last, stop
    return int((starts & chosen).sum()), int(lengths[chosen].sum())


def _spread(starts: np.ndarray, share: float, before: int) -> np.ndarray:
    """Which sequences belong to a share of the documents that is spread evenly over all of them:
    document n of the corpus is taken where n phi mod 1 is below the share (Weyl 1916)."""
    if share >= 1:
        return np.ones(len(starts), np.bool_)
    numbers = (np.cumsum(starts, dtype=np.uint64) + np.uint64(before) - 1) * np.uint64(PHI)
    return numbers < np.uint64(share * 2**64)
