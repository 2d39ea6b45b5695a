"""Texts to score are read in parts, and counted as prepare counts them."""

import numpy as np
import pytest

from xunlian.errors import InputError
from xunlian.evaluation.texts import Span, files_text
from xunlian.recipe.settings import Corpus
from xunlian.tokenizer.train import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([]), "byte", 257)


class Recorder:
    """A stream of 0..999 that notes what was read."""

    def __init__(self):
        self.reads = []

    def __len__(self):
        return 1000

    def read(self, start, stop):
        self.reads.append((start, stop))
        return np.arange(start, stop)


def test_a_span_reads_only_what_is_asked_for():
    stream = Recorder()
    span = Span(stream, 100, 900)
    assert len(span) == 800
    assert span[5:8].tolist() == [105, 106, 107]
    assert span[790:2000].tolist() == list(range(890, 900))
    assert stream.reads == [(105, 108), (890, 900)]


def test_files_become_documents_with_their_ends_and_counts(tokenizer, tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text('{"text": "a b"}\n{"text": "明月 c"}\n', "utf-8")
    text = files_text([str(path)], Corpus(), tokenizer, tmp_path)
    documents = [tokenizer.decode(document[0 : len(document)]) for document in text.documents]
    assert documents == ["a b", "明月 c"]
    assert text.tokens == 3 + 8 + 2
    counts = text.counts
    assert (counts.documents, counts.bytes, counts.characters, counts.words) == (2, 11, 7, 5)


def test_broken_lines_stop_or_are_left_out_as_the_recipe_says(tokenizer, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n{"text": "b"}\n')
    with pytest.raises(InputError, match="line 2"):
        files_text([str(path)], Corpus(), tokenizer, tmp_path)
    text = files_text([str(path)], Corpus(on_error="skip"), tokenizer, tmp_path)
    assert text.counts.documents == 2


def test_a_document_of_many_reading_pieces_stays_one_document(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("xunlian.evaluation.texts.BATCH_CHARACTERS", 300_000)
    whole = "word and word\n" * 60_000
    path = tmp_path / "long.txt"
    path.write_text(whole)
    text = files_text([str(path)], Corpus(), tokenizer, tmp_path)
    (document,) = text.documents
    assert document[0 : len(document)].tolist() == [*tokenizer.encode(whole), tokenizer.end_id]
