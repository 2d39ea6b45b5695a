"""What is scored: documents as token ids, and how much text they stand for.

A text is a corpus's validation split, already cleaned, tokenized and counted, or files, which are
read, cleaned, tokenized and counted on the way, never whole in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xunlian.errors import InputError
from xunlian.evaluation.perplexity import Document, Stream, TextCounts
from xunlian.files import sha256
from xunlian.recipe.settings import Corpus as ReadingSettings
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.tokenizer.tokenizer import Tokenizer

BATCH_CHARACTERS = 1 << 20  # encoded at once, by all cores


@dataclass(frozen=True)
class Text:
    """A text to score.

    Attributes:
        name: how to call it in a result.
        documents: to be gone through once.
        tokens: how many there are, or None when only reading tells.
        counts: to be called when all documents were read.
    """

    name: str
    documents: Iterable[Document]
    tokens: int | None
    counts: Callable[[], TextCounts]


@dataclass(frozen=True)
class Span:
    """A document of a stream, read a part at a time, so that its length costs no memory."""

    stream: Stream
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice, /) -> np.ndarray:
        first, last, _ = part.indices(len(self))
        return self.stream.read(self.start + first, self.start + max(first, last))


def corpus_text(path: Path, tokenizer: Tokenizer, split: str = "val") -> Text:
    """The validation split of a corpus; its shards are compared with their checksums.

    Raises:
        InputError: no corpus, damaged, empty, or made with another tokenizer.
    """
    corpus = open_corpus(path)
    if corpus.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(f"The corpus '{path}' has another tokenizer than the model. Give the "
                         "text itself with --data.")
    card = corpus.split_card(split)
    if not card["tokens"]:
        raise InputError(f"The corpus '{path}' has no validation text. Say with --data which text "
                         "to score, or prepare the corpus with --val.")
    _verify(corpus, split)
    stream = corpus.stream(split)
    counts = TextCounts(documents=card["documents"], bytes=card["bytes"],
                        characters=card["characters"], words=card["words"])
    documents = (Span(stream, start, stop) for start, stop in stream.spans())
    return Text(f"{path} ({split})", documents, card["tokens"], lambda: counts)


def files_text(paths: Sequence[str], settings: ReadingSettings, tokenizer: Tokenizer) -> Text:
    """Text files, read and cleaned as `prepare` does.

    Raises:
        InputError: while the documents are gone through: a file is missing, empty or broken.
    """
    raise NotImplementedError


def _verify(corpus: Corpus, split: str) -> None:
    for shard in corpus.split_card(split)["shards"]:
        for suffix in ("bin", "idx"):
            file = corpus.path / f"{shard['name']}.{suffix}"
            if sha256(file) != shard[f"{suffix}_sha256"]:
                raise InputError(f"'{file}' is damaged: its checksum differs. Prepare the corpus "
                                 "again.")


class _Encoded:
    """Documents of plain text as token ids; counts the text that goes through."""

    def __init__(self, texts: Iterable[str], tokenizer: Tokenizer) -> None:
        self.texts, self.tokenizer = texts, tokenizer
        self.documents = self.bytes = self.characters = self.words = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        waiting: list[str] = []
        size = 0
        for text in self.texts:
            self._count(text)
            waiting.append(text)
            size += len(text)
            if size >= BATCH_CHARACTERS:
                yield from self._encode(waiting)
                waiting, size = [], 0
        yield from self._encode(waiting)

    def counts(self) -> TextCounts:
        return TextCounts(self.documents, self.bytes, self.characters, self.words)

    def _encode(self, texts: list[str]) -> Iterator[np.ndarray]:
        for ids in self.tokenizer.encode_batch(texts):
            yield np.array([*ids, self.tokenizer.end_id], dtype=np.int64)

    def _count(self, text: str) -> None:
        self.documents += 1
        self.bytes += len(text.encode("utf-8"))
        self.characters += len(text)
        self.words += len(text.split())
