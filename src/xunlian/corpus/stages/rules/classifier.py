"""A small classifier of good and bad text, trained from examples in seconds.

Logistic regression on hashed words, pairs of words and the words that begin lines (characters in
Chinese), after Joulin et al., "Bag of Tricks for Efficient Text Classification" (arXiv 1607.01759).
Training is a fixed number of steps over all examples, with no chance in it: the same examples give
the same file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.hashing import mix
from xunlian.corpus.stages.rules.table import Table
from xunlian.errors import InputError
from xunlian.files import atomic_write

Floats = NDArray[np.float32]

BITS = 18
_SIZE = 1 << BITS
_FORMAT = "xunlian-quality-1"
_PIECE = 2000  # characters of an example that are learned from at once
_MOST_PIECES = 20_000  # of either kind
_LEAST_EXAMPLES = 10
_STEPS = 100
_RATE = 0.5
_DECAY = 1e-4  # of L2
_TABLE_CHARACTERS = 400_000


@dataclass(frozen=True)
class Classifier:
    """Weights of the features, (2^18,), and the bias."""

    weights: Floats
    bias: float

    def score(self, texts: list[str]) -> NDArray[np.float64]:
        """(D,) from 0, as the bad examples, to 1, as the good ones."""
        scores: list[NDArray[np.float64]] = []
        for part in parts(texts):
            scores.append(self.score_table(Table(part)))
        return np.concatenate(scores) if scores else np.zeros(0)

    def score_table(self, table: Table) -> NDArray[np.float64]:
        """(D,) the scores of the texts of a table."""
        total = np.zeros(len(table.texts))
        size = np.zeros(len(table.texts))
        for features, documents in features_of(table):
            weights = self.weights[features].astype(np.float64)
            total += np.bincount(documents, weights, minlength=len(total))
            size += np.bincount(documents, minlength=len(total))
        logits = total / np.sqrt(np.maximum(size, 1)) + self.bias
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save

        data = save(
            {"weights": self.weights, "bias": np.array([self.bias], np.float32)},
            {"format": _FORMAT},
        )
        with atomic_write(path) as file:
            file.write(data)


def load_classifier(path: str | Path) -> Classifier:
    """Raises InputError, naming the file, when it is missing or is no classifier."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"'{path}' is missing. Name the file of a trained classifier.")
    try:
        with safe_open(path, "numpy") as file:
            if (file.metadata() or {}).get("format") == _FORMAT:
                weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
                if weights.shape == (_SIZE,) and bias.shape == (1,):
                    return Classifier(weights, float(bias[0]))
    except SafetensorError as error:
        raise InputError(f"'{path}' is damaged or no safetensors file ({error}).") from error
    raise InputError(f"'{path}' is no classifier of this version. Train it again.")


def train_classifier(good: Iterable[str], bad: Iterable[str]) -> Classifier:
    """Learn to tell two kinds of documents apart; both count alike, however many there are.

    Raises:
        InputError: there are fewer than ten examples of a kind.
    """
    pieces = {"good": _pieces(good), "bad": _pieces(bad)}
    for name, examples in pieces.items():
        if len(examples) < _LEAST_EXAMPLES:
            raise InputError(
                f"There are {len(examples)} {name} examples; give {_LEAST_EXAMPLES} or more."
            )
    texts = pieces["good"] + pieces["bad"]
    labels = np.repeat([1.0, 0.0], [len(pieces["good"]), len(pieces["bad"])])
    share = np.repeat(
        [0.5 / len(pieces["good"]), 0.5 / len(pieces["bad"])],
        [
            len(pieces["good"]),
            len(pieces["bad"]),
        ],
    )
    rows, features = _matrix(texts)
    scale = 1 / np.sqrt(np.maximum(np.bincount(rows, minlength=len(texts)), 1))
    weights, bias = np.zeros(_SIZE), 0.0
    seen, seen_bias = np.full(_SIZE, 1e-8), 1e-8
    for _ in range(_STEPS):
        logits = np.bincount(rows, weights[features], minlength=len(texts)) * scale + bias
        error = share * (1 / (1 + np.exp(-np.clip(logits, -30, 30))) - labels)
        slope = np.bincount(features, (error * scale)[rows], minlength=_SIZE) + _DECAY * weights
        # AdaGrad (Duchi et al. 2011): a rare word learns as fast as a common one.
        seen += slope * slope
        weights -= _RATE * slope / np.sqrt(seen)
        seen_bias += float(error.sum()) ** 2
        bias -= _RATE * float(error.sum()) / seen_bias**0.5
    return Classifier(weights.astype(np.float32), bias)


def features_of(table: Table) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Buckets of features with their documents: words, pairs of words, words that begin lines."""
    hashes, documents = table.word_hashes, table.words.documents
    yield _bucket(hashes), documents
    pairs = mix(hashes[:-1] * np.uint64(31)) + hashes[1:]
    together = documents[:-1] == documents[1:]
    yield _bucket(mix(pairs[together])), documents[:-1][together]
    words = _first_words(table)
    yield _bucket(mix(hashes[words] * np.uint64(37))), documents[words]


def places(table: Table) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Where the same features begin and end, in characters of the table."""
    starts, ends, documents = table.words.starts, table.words.ends, table.words.documents
    yield starts, ends
    together = documents[:-1] == documents[1:]
    yield starts[:-1][together], ends[1:][together]
    words = _first_words(table)
    yield starts[words], ends[words]


def _first_words(table: Table) -> NDArray[np.int64]:
    """Of each line that has any."""
    bounds = table.chunk_bounds_of_lines
    first = table.chunks.starts[bounds[:-1][np.diff(bounds) > 0]]
    return np.searchsorted(table.words.starts, first)


def _bucket(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashes >> np.uint64(64 - BITS)).astype(np.int64)


def _matrix(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and feature of every occurrence."""
    rows, features = [], []
    done = 0
    for part in parts(texts):
        for found, documents in features_of(Table(part)):
            features.append(found)
            rows.append(documents + done)
        done += len(part)
    return np.concatenate(rows), np.concatenate(features)


def _pieces(texts: Iterable[str]) -> list[str]:
    """Pieces of all the texts; of too many, evenly chosen ones."""
    pieces = [
        text[start : start + _PIECE]
        for text in texts
        if text.strip()
        for start in range(0, len(text), _PIECE)
    ]
    if len(pieces) <= _MOST_PIECES:
        return pieces
    return [pieces[index * len(pieces) // _MOST_PIECES] for index in range(_MOST_PIECES)]


def parts(texts: list[str]) -> Iterable[list[str]]:
    """The texts in lists of which each is a table's."""
    part: list[str] = []
    characters = 0
    for text in texts:
        if part and characters + len(text) > _TABLE_CHARACTERS:
            yield part
            part, characters = [], 0
        part.append(text)
        characters += len(text) + 1
    if part:
        yield part
