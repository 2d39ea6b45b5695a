"""Text to tokens: the work of one worker on one batch, a pure function.

A batch is a list of sequences (a piece of a document each); the outcome is what the shard writer
takes, per split, with the text's counts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from xunlian.corpus.clean import clean_all, count_words
from xunlian.tokenizer.bulk import bulk_encoder
from xunlian.tokenizer.sides import Sides

_BATCH_CHARACTERS = 500_000  # what a worker gets at once
_BATCH_SEQUENCES = 5_000


class Sequenced(NamedTuple):
    """A piece of a document on its way to the split it belongs to."""

    text: str
    split: str
    first: bool
    last: bool


@dataclass
class Encoded:
    """One split's part of a batch: what `ShardWriter.write` takes, and counts of its text."""

    tokens: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)


def encode(
    batch: Sequence[Sequenced], tokenizers: Sides, dtype: np.dtype
) -> tuple[dict[str, Encoded], Counter[str]]:
    """({split: its sequences}, what cleaning changed). Documents end with the end token.

    A split of pairs is named with its column, as 'train.target'.
    """
    changes: Counter[str] = Counter()
    parts: dict[str, Encoded] = {}
    for split in sorted({item.split for item in batch}):
        tokenizer = tokenizers.of(split.partition(".")[2])
        items = [item for item in batch if item.split == split]
        texts = clean_all([item.text for item in items], changes)
        ids, sizes = bulk_encoder(tokenizer)(texts)
        last = np.array([item.last for item in items], bool)
        tokens = np.insert(ids, np.cumsum(sizes)[last], tokenizer.end_id)
        joined = "\n".join(texts)
        breaks = len(texts) - 1
        counts = {
            "documents": sum(item.first for item in items),
            "tokens": len(tokens),
            "bytes": len(joined.encode()) - breaks,
            "characters": len(joined) - breaks,
            "words": count_words(joined),
        }
        parts[split] = Encoded(
            tokens.astype(dtype),
            (sizes + last).astype(np.int32),
            np.array([item.first for item in items], bool),
            counts,
        )
    return parts, changes


def in_batches(items: Iterable[Sequenced]) -> Iterator[list[Sequenced]]:
    """What a worker gets at once: bounded in characters and in sequences."""
    batch: list[Sequenced] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += len(item.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_SEQUENCES:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
