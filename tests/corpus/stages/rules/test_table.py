"""Words, lines and chunks of a batch are those that a loop over each text finds."""

import random
import unicodedata

import numpy as np
import pytest

from xunlian.corpus.stages.rules.hashing import hash_text
from xunlian.corpus.stages.rules.table import Spans, Table

MARKS = [*"ab  \n\n.,'-中文。\u3000…\"(x)", "\U0001f600", "é", "\u0301", "don't ", "7"]


def read(table: Table, spans: Spans) -> list[list[str]]:
    """The text of each stretch, document by document."""
    result = []
    for document in range(len(table.texts)):
        start, stop = spans.bounds[document], spans.bounds[document + 1]
        pairs = zip(spans.starts[start:stop], spans.ends[start:stop], strict=True)
        result.append(["".join(map(chr, table.codes[a:b])) for a, b in pairs])
    return result


def random_texts(seed: int, count: int = 60) -> list[str]:
    source = random.Random(seed)
    texts = ["", "\n", " ", "word", "。", "\n\n\n"]
    texts += ["".join(source.choices(MARKS, k=source.randrange(120))) for _ in range(count)]
    return texts


# What spaCy 3.8's blank English pipeline gives, but for the last one: there a run of Chinese is one
# word.
SPACY = {
    "Don't panic: it's John's well-known book.": (
        "Do n't panic : it 's John 's well - known book ."
    ),
    'He said "yes, we can" (loudly)!': 'He said " yes , we can " ( loudly ) !',
    "The U.S. and Mr. Smith, e.g. at 5 p.m. today.": (
        "The U.S. and Mr. Smith , e.g. at 5 p.m. today ."
    ),
    "It costs $10.50, or 20% less...": "It costs $ 10.50 , or 20 % less ...",
    "See http://example.com/a-b?c=d, please.": "See http://example.com/a-b?c=d , please .",
    "I cannot; they'll see, we've been, he'd go, you're in.": (
        "I can not ; they 'll see , we 've been , he 'd go , you 're in ."
    ),
    "3,000 F-16 jets, 1990-2000 and either/or word,word": (
        "3,000 F-16 jets , 1990 - 2000 and either / or word , word"
    ),
    "an end.Next one - and — dash–dash": "an end . Next one - and — dash – dash",
    "“Quoted” ‘text’ isn’t O'Brien's": "“ Quoted ” ‘ text ’ is n’t O'Brien 's",
    "我们的书，read it。": "我 们 的 书 ， read it 。",
}


@pytest.mark.parametrize("text", SPACY)
def test_words_are_those_of_spacy(text: str) -> None:
    table = Table([text])
    assert read(table, table.words)[0] == SPACY[text].split(" ")


@pytest.mark.parametrize("seed", range(5))
def test_words_make_up_all_that_is_no_white_space(seed: int) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    for text, words in zip(texts, read(table, table.words), strict=True):
        assert "".join(words) == "".join(text.split())
        assert all(words)


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_in_the_batch_change_nothing(seed: int) -> None:
    texts = random_texts(seed)
    table = Table(texts)
    together = read(table, table.words)
    for text, words in zip(texts, together, strict=True):
        alone = Table([text])
        assert read(alone, alone.words)[0] == words


def test_chunks_and_lines_are_those_of_str_split() -> None:
    texts = random_texts(7)
    table = Table(texts)
    assert read(table, table.chunks) == [text.split() for text in texts]
    assert read(table, table.lines) == [text.split("\n") for text in texts]


def test_traits_of_words_are_those_of_their_characters() -> None:
    texts = random_texts(8)
    table = Table(texts)
    words = [word for document in read(table, table.words) for word in document]
    assert table.alphabetic.tolist() == [any(c.isalpha() for c in word) for word in words]
    symbols = ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sk", "Cc")
    expected = [any(unicodedata.category(c) not in symbols for c in word) for word in words]
    assert table.substantial.tolist() == expected


def test_equal_words_have_equal_hashes_wherever_they_stand() -> None:
    table = Table(random_texts(9))
    words = [word for document in read(table, table.words) for word in document]
    assert table.word_hashes.tolist() == [hash_text(word) for word in words]
    assert len(set(table.word_hashes.tolist())) == len(set(words))


def test_sums_are_by_document() -> None:
    texts = random_texts(10)
    table = Table(texts)
    words = read(table, table.words)
    lengths = table.words.lengths
    assert table.words.total(lengths).tolist() == [sum(map(len, found)) for found in words]
    chosen = table.words.select(lengths > 1)
    assert read(table, chosen) == [[word for word in found if len(word) > 1] for found in words]
    assert (
        table.words.documents.tolist()
        == np.repeat(np.arange(len(texts)), [len(found) for found in words]).tolist()
    )
