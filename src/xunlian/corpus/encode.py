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
from xunlian.tokenizer.framing import Frame
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

    A split of pairs is named with its column, as 'train.target', and its documents are framed.
    """
    changes: Counter[str] = Counter()
    parts: dict[str, Encoded] = {}
    for split in sorted({item.split for item in batch}):
        column = split.partition(".")[2]
        items = [item for item in batch if item.split == split]
        texts = clean_all([item.text for item in items], changes)
        ids, sizes = bulk_encoder(tokenizers.of(column))(texts)
        first = np.array([item.first for item in items], bool)
        last = np.array([item.last for item in items], bool)
        tokens, lengths = _framed(ids, sizes, first, last, tokenizers.frame(column))
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
            lengths.astype(np.int32),
            first,
            counts,
        )
    return parts, changes


def _framed(
    ids: np.ndarray, sizes: np.ndarray, first: np.ndarray, last: np.ndarray, frame: Frame
) -> tuple[np.ndarray, np.ndarray]:
    """The ids with `frame` around each document, and the length of each sequence then."""
    lengths = sizes + len(frame.before) * first + len(frame.after) * last
    ends = np.cumsum(lengths)
    begins = ends - lengths
    tokens = np.empty(lengths.sum(), dtype=ids.dtype)
    of_text = np.ones(len(tokens), dtype=bool)
    places = [begins[first] + i for i in range(len(frame.before))]
    places += [ends[last] - i for i in range(len(frame.after), 0, -1)]
    for place, token in zip(places, (*frame.before, *frame.after), strict=True):
        tokens[place] = token
        of_text[place] = False
    tokens[of_text] = ids
    return tokens, lengths


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
