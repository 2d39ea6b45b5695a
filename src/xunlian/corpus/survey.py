"""The first pass over a corpus: how much there is, where to cut it, what to learn tokens from."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xunlian.corpus.clean import clean
from xunlian.corpus.pieces import Piece
from xunlian.corpus.sample import Excerpt, Sampler
from xunlian.corpus.split import Holdout


@dataclass
class Survey:
    """What the first pass found.

    Attributes:
        documents, characters, bytes: of the cleaned text.
        pieces: the characters of each piece of the first documents, as many as may be cut.
        sample: excerpts for the tokenizer, validation text still among them.
    """

    holdout: Holdout
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    pieces: list[list[int]] = field(default_factory=list)
    sample: list[Excerpt] = field(default_factory=list)

    @property
    def by_tail(self) -> bool:
        """Whether the end of each document is held out instead of whole documents."""
        return self.documents < self.holdout.enough_documents

    def cut(self, ordinal: int) -> int:
        """The character at which the validation part of a document begins, if `by_tail`."""
        return self.holdout.kept_characters(sum(self.pieces[ordinal]))

    def training_sample(self) -> Iterator[str]:
        """The sample's texts without what is held out."""
        for excerpt in self.sample:
            text = excerpt.text
            if excerpt.ordinal is not None:
                if self.by_tail:
                    text = text[: max(0, self.cut(excerpt.ordinal) - excerpt.offset)]
                elif self.holdout.is_held_out(excerpt.ordinal):
                    text = ""
            if text:
                yield text


def survey(documents: Iterable[Piece], holdout: Holdout, sample_bytes: int) -> Survey:
    """Go through the documents once. Memory: the sample, and the lengths of a few documents."""
    result = Survey(holdout)
    sampler = Sampler(sample_bytes)
    changes: Counter[str] = Counter()  # counted in the second pass
    may_be_cut = holdout.enough_documents
    ordinal = -1
    offset = 0
    for piece in documents:
        text = clean(piece.text, changes)
        if piece.first:
            ordinal, offset = ordinal + 1, 0
            if ordinal < may_be_cut:
                result.pieces.append([])
        if ordinal < may_be_cut:
            result.pieces[ordinal].append(len(text))
            sampler.add(text, ordinal, offset)
        elif not holdout.is_held_out(ordinal):
            sampler.add(text)
        offset += len(text)
        result.characters += len(text)
        result.bytes += len(text) if text.isascii() else len(text.encode())
    result.documents = ordinal + 1
    result.sample = list(sampler.excerpts())
    return result
