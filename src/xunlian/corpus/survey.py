"""What is in one part, once its documents are final: how much, and what to learn tokens from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from xunlian.corpus.pieces import Piece
from xunlian.corpus.sample import Excerpt, Sampler
from xunlian.corpus.split import Holdout


@dataclass
class Survey:
    """What was found.

    Attributes:
        documents, characters, bytes: of the text.
        lengths: the characters of the first documents of the corpus, as many as may be cut, by
            their numbers; of one that spans chunks, those in this one.
        sample: excerpts for the tokenizer; of documents that may be cut, with what is cut off.
    """

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    sample: list[Excerpt] = field(default_factory=list)


def survey(
    documents: Iterable[Piece], holdout: Holdout, sample_bytes: int, before: int, offset: int
) -> Survey:
    """Go through the documents of a chunk once. Memory: the sample, and a few lengths.

    Args:
        before: the documents that begin before this chunk.
        offset: the characters, before this chunk, of the document that it continues.
    """
    result = Survey()
    sampler = Sampler(sample_bytes)
    ordinal = before - 1
    for piece in documents:
        if piece.first:
            ordinal, offset = ordinal + 1, 0
        if ordinal < holdout.enough_documents:
            seen = result.lengths.get(str(ordinal), 0)
            result.lengths[str(ordinal)] = seen + len(piece.text)
            sampler.add(piece.text, ordinal, offset)
        elif not holdout.is_held_out(ordinal):
            sampler.add(piece.text)
        offset += len(piece.text)
        result.characters += len(piece.text)
        result.bytes += len(piece.text) if piece.text.isascii() else len(piece.text.encode())
    result.documents = ordinal + 1 - before
    result.sample = list(sampler.excerpts())
    return result


def training_text(excerpt: Excerpt, holdout: Holdout, lengths: list[int], by_tail: bool) -> str:
    """The text of an excerpt without what is held out."""
    if excerpt.ordinal is None:
        return excerpt.text
    if by_tail:
        cut = holdout.kept_characters(lengths[excerpt.ordinal])
        return excerpt.text[: max(0, cut - excerpt.offset)]
    return "" if holdout.is_held_out(excerpt.ordinal) else excerpt.text
