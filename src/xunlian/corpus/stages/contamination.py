"""Documents that contain what a model will be evaluated on.

The n-gram test of GPT-3 (Brown et al., 2020, appendix C: 13 words) in the form of decon: not any
shared n-gram counts, but which share of an example's n-grams a document has. So a quotation that
both happen to hold is no contamination, and a question with a word changed still is. In Chinese an
n-gram is of characters.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xunlian.corpus.duplicates.arrays import open_arrays, write_arrays
from xunlian.corpus.reading.decode import decode
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.reading.unpack import read_bytes
from xunlian.corpus.stages.ngrams import Tokens, blocks, fold, ngrams, tokenize
from xunlian.errors import InputError

REASON = "contaminated"
SHORTEST = 8  # tokens of an example: a shorter one is in too many innocent texts
_COMMON = 100  # examples with one n-gram: more, and it is the template, not the question
_MOST_BITS = 26  # of the table that is asked first


class Index(NamedTuple):
    """The n-grams of all examples.

    hashes: (H,) uint64, ascending; ends: (H,) int64, where its examples end in
    owners: (sum,) int64, numbers of examples. totals: (E,) int64, different n-grams of an example.
    sets: (E,) int64, its set. lengths: those of the n-grams. names: of the sets.
    seen: (2^bits,) bool, which highest bits some hash has.
    """

    hashes: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    totals: np.ndarray
    sets: np.ndarray
    lengths: np.ndarray
    seen: np.ndarray
    names: list[str]


def read_sets(files: Sequence[str]) -> Iterator[tuple[str, Iterator[str]]]:
    """(name, examples) of each file: lines of text, or all texts of JSON records.

    Raises:
        InputError: a file is missing, of another format or damaged.
    """
    for source in find_sources(files):
        if source.format not in ("txt", "jsonl"):
            raise InputError(
                f"'{source.name}': an evaluation set is read from .txt (one example a line) or "
                ".jsonl. Convert it."
            )
        lines = _lines(decode(read_bytes(source, lambda _: None), source.name, "auto"))
        if source.format == "jsonl":
            lines = _texts_of_records(lines, source.name)
        yield source.name, lines


def make_index(sets: Iterable[tuple[str, Iterable[str]]], tokens: int = 13) -> Index:
    """Index evaluation sets: (name, examples) each.

    Args:
        tokens: of an n-gram. A shorter example is one n-gram, down to `SHORTEST` tokens; what is
            shorter still is left out, and so are n-grams of over a hundred examples.
    """
    names: list[str] = []
    set_of: list[np.ndarray] = []
    hashes, owners, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], {tokens}
    examples = 0
    for number, (name, texts) in enumerate(sets):
        names.append(name)
        for batch in _batches(texts):
            for _, block in blocks(batch):
                found = tokenize(fold(block))
                counts = found.counts
                enough = counts >= min(SHORTEST, tokens)
                grams = ngrams(found, tokens)
                keep = np.repeat(enough, grams.counts)
                hashes.append(grams.hashes[keep])
                owner = np.arange(examples, examples + len(block))
                owners.append(np.repeat(owner, grams.counts)[keep])
                lengths.update(counts[enough & (counts < tokens)].tolist())
                set_of.append(np.full(len(block), number))
                examples += len(block)
    hash_, owner, _ = _unique_pairs(np.concatenate(hashes), np.concatenate(owners))
    unique, counts = np.unique(hash_, return_counts=True)
    rare = counts <= _COMMON
    owner = owner[np.repeat(rare, counts)]
    unique, counts = unique[rare], counts[rare]
    bits = min(_MOST_BITS, max(10, 4 + len(unique).bit_length()))
    seen = np.zeros(1 << bits, bool)
    seen[(unique >> np.uint64(64 - bits)).astype(np.int64)] = True
    return Index(
        unique,
        np.cumsum(counts),
        owner,
        np.bincount(owner, minlength=examples),
        np.concatenate(set_of) if set_of else np.zeros(0, np.int64),
        np.array(sorted(lengths)),
        seen,
        names,
    )


def contaminated(
    texts: Sequence[str], index: Index, overlap: float
) -> tuple[list[str | None], Counter[str]]:
    """`REASON` for each text that has at least this share of some example's n-grams.

    Returns:
        the verdicts, and how many texts hit each set, by its name.
    """
    verdicts: list[str | None] = []
    counts: Counter[str] = Counter()
    for _, block in blocks(texts):
        documents, sets = _hits(tokenize(fold(block)), index, overlap)
        found = set(documents.tolist())
        verdicts += [REASON if i in found else None for i in range(len(block))]
        for number, times in enumerate(np.bincount(sets, minlength=len(index.names)).tolist()):
            if times:
                counts[index.names[number]] += times
    return verdicts, counts


def _hits(tokens: Tokens, index: Index, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Documents and the sets that each hits, each pair once."""
    shift = np.uint64(65 - len(index.seen).bit_length())
    documents, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for length in index.lengths.tolist():
        grams = ngrams(tokens, length, whole=False)
        maybe = np.flatnonzero(index.seen[(grams.hashes >> shift).astype(np.int64)])
        if not len(maybe) or not len(index.hashes):
            continue
        hashes = grams.hashes[maybe]
        place = np.minimum(np.searchsorted(index.hashes, hashes), len(index.hashes) - 1)
        good = index.hashes[place] == hashes
        places.append(place[good])
        documents.append(np.searchsorted(np.cumsum(grams.counts), maybe[good], side="right"))
    place, document = np.concatenate(places), np.concatenate(documents)
    document, place, _ = _unique_pairs(document, place)
    starts = np.concatenate(([0], index.ends))[place]
    sizes = np.concatenate((index.ends, [0]))[place] - starts
    offset = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    owner = index.owners[np.repeat(starts, sizes) + offset]
    document, owner, shared = _unique_pairs(np.repeat(document, sizes), owner)
    enough = shared >= overlap * index.totals[owner] - 1e-9
    return _unique_pairs(document[enough], index.sets[owner[enough]])[:2]


def _unique_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different pairs (a[i], b[i]), in order, and how often each is there."""
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    new = np.ones(len(a), bool)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    firsts = np.flatnonzero(new)
    return a[firsts], b[firsts], np.diff(firsts, append=len(a))


def save_index(index: Index, path: Path) -> None:
    names = "\n".join(index.names).encode("utf-8", "surrogateescape")
    arrays = index._asdict() | {"names": np.frombuffer(names, np.uint8)}
    write_arrays(path, arrays)


def load_index(path: Path) -> Index:
    """Mapped into memory, so that workers share it."""
    arrays = open_arrays(path)
    names = arrays.pop("names").tobytes().decode("utf-8", "surrogateescape")
    return Index(**arrays, names=names.split("\n"))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size > 1 << 20:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        *whole, held = (held + block).split("\n")
        yield from whole
    yield held


def _texts_of_records(lines: Iterable[str], name: str) -> Iterator[str]:
    import orjson

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield from _texts(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise InputError(f"'{name}', line {number}: no JSON ({error}). Mend it.") from error


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
