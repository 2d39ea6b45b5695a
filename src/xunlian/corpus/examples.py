"""Documents as the quality stage sees them, for a classifier that is to judge there."""

from collections import Counter
from collections.abc import Iterator, Sequence

from xunlian.corpus.columns import apply
from xunlian.corpus.line import change
from xunlian.corpus.read_tasks import in_columns
from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.stage_list import stages_of
from xunlian.corpus.tally import Tally
from xunlian.recipe.corpus import Corpus as CorpusSettings


def examples(inputs: Sequence[str], corpus: CorpusSettings, counts: Counter[str]) -> Iterator[str]:
    """The documents of files, folders, globs and URLs: read, extracted and cleaned; of one that is
    longer than a piece its beginning, by which the quality stage goes. What was left out while
    reading is added to `counts`.

    Raises:
        InputError: anything is wrong with the files.
    """
    only_clean = corpus.model_copy(update={"language": None, "quality": None, "privacy": None})
    functions = [stage.make() for stage in stages_of(only_clean, held_out=True, pages=True)]
    for source in find_sources(inputs):
        for part in split_into_parts(source, corpus):
            passages = read_part(part, corpus, counts, options=corpus.reading)
            for rows in in_columns(passages):
                for function in functions:
                    rows = apply(rows, change(rows, function, Tally()))
                for text, first in zip(rows["text"], rows["first"], strict=True):
                    if first and text and not text.isspace():
                        yield text


class Spread:
    """An even choice of a stream of texts, of at most so many characters."""

    def __init__(self, characters: int) -> None:
        self.texts: list[str] = []
        self._most, self._held = characters, 0
        self._every, self._number = 1, 0

    def add(self, text: str) -> None:
        if self._number % self._every == 0:
            self.texts.append(text)
            self._held += len(text)
        self._number += 1
        while self._held > self._most and len(self.texts) > 1:
            self.texts = self.texts[::2]
            self._every *= 2
            self._held = sum(map(len, self.texts))
