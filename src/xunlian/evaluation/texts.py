"""What is scored: documents as token ids, and how much text they stand for.

A text is a corpus's validation split, already cleaned, tokenized and counted, or files, which are
read, cleaned, counted and tokenized into a temporary shard first: so no text, and no document, is
ever whole in memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from xunlian.console import progress, warn
from xunlian.corpus.encode import Sequenced, encode
from xunlian.corpus.reading.readers import Piece, read_documents
from xunlian.corpus.reading.sources import find_sources
from xunlian.errors import InputError
from xunlian.evaluation.perplexity import Document, Stream, TextCounts
from xunlian.files import sha256
from xunlian.recipe.settings import Corpus as ReadingSettings
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.stream import TokenStream, open_stream
from xunlian.shards.writer import ShardWriter
from xunlian.tokenizer.sides import Sides
from xunlian.tokenizer.tokenizer import Tokenizer

BATCH_CHARACTERS = 1 << 20  # encoded at once, by all cores


@dataclass(frozen=True)
class Text:
    """A text to score.

    Attributes:
        name: how to call it in a result.
        documents: to be gone through once.
        tokens: how many there are, the end tokens included.
        counts: how much text that is.
    """

    name: str
    documents: Iterable[Document]
    tokens: int
    counts: TextCounts


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
        raise InputError(
            f"The corpus '{path}' has another tokenizer than the model. Give the "
            "text itself with --data."
        )
    card = corpus.split_card(split)
    if not card["tokens"]:
        raise InputError(
            f"The corpus '{path}' has no validation text. Say with --data which text "
            "to score, or prepare the corpus with --val."
        )
    _verify(corpus, split)
    return Text(
        f"{path} ({split})", _spans(corpus.stream(split)), card["tokens"], _text_counts(card)
    )


def files_text(
    paths: Sequence[str], settings: ReadingSettings, tokenizer: Tokenizer, folder: Path
) -> Text:
    """Text files, read and cleaned as `prepare` does, and tokenized into `folder`.

    Raises:
        InputError: a file is missing, empty or broken, or there is no text in any.
    """
    sources = find_sources(paths)
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    dtype = token_dtype(tokenizer.vocab_size)
    with progress() as bar, ShardWriter(folder, "text", dtype) as writer:
        task = bar.add_task("read", total=sum(source.size for source in sources))
        for batch in _batches(
            read_documents(sources, settings, dropped, lambda read: bar.advance(task, read))
        ):
            part = encode(batch, Sides(tokenizer, tokenizer), dtype)[0]["text"]
            writer.write(part.tokens, part.lengths, part.starts)
            counts.update(part.counts)
    if dropped["broken_records"]:
        warn(f"{dropped['broken_records']:,} broken records were left out.")
    if not counts["documents"]:
        raise InputError(f"There is no text in {', '.join(paths)}.")
    stream = open_stream([folder / shard["name"] for shard in writer.shards])
    return Text(", ".join(paths), _spans(stream), len(stream), _text_counts(counts))


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Sequenced]]:
    batch: list[Sequenced] = []
    size = 0
    for piece in pieces:
        batch.append(Sequenced(piece.text, "text", piece.first, piece.last))
        size += len(piece.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _text_counts(counts: Mapping[str, Any]) -> TextCounts:
    return TextCounts(**{field.name: counts[field.name] for field in fields(TextCounts)})


def _spans(stream: TokenStream) -> Iterator[Span]:
    return (Span(stream, start, stop) for start, stop in stream.spans())


def _verify(corpus: Corpus, split: str) -> None:
    for shard in corpus.split_card(split)["shards"]:
        for suffix in ("bin", "idx"):
            file = corpus.path / f"{shard['name']}.{suffix}"
            if sha256(file) != shard[f"{suffix}_sha256"]:
                raise InputError(
                    f"'{file}' is damaged: its checksum differs. Prepare the corpus again."
                )
