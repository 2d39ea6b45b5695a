import json
from pathlib import Path

import pytest

from xunlian.commands.prepare import prepare
from xunlian.errors import InputError
from xunlian.shards.corpus import Corpus, open_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {i} of the text\n" for i in range(200)), "utf-8")
    return prepare(
        text,
        out=tmp_path / "corpus",
        val=0.1,
        tokenizer="byte",
        overrides=["corpus.documents=line"],
    )


def test_the_card_agrees_with_the_streams(corpus: Corpus) -> None:
    opened = open_corpus(corpus.path)
    opened.verify()
    for split in ("train", "val"):
        card, stream = opened.split_card(split), opened.stream(split)
        assert opened.tokens(split) == card["tokens"] == len(stream)
        assert card["documents"] == stream.document_count
        assert all(document[-1] == opened.end_id for document in stream.documents())
    assert opened.vocab_size == 257


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx", "val-00000.bin"])
def test_one_changed_byte_is_found_by_the_checksum_and_named(corpus: Corpus, name: str) -> None:
    data = bytearray((corpus.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (corpus.path / name).write_bytes(data)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        open_corpus(corpus.path).verify()


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx", "val-00000.bin"])
@pytest.mark.parametrize("keep", [0, 20, -2])
def test_a_shard_cut_short_is_found_on_opening_and_named(
    corpus: Corpus, name: str, keep: int
) -> None:
    data = (corpus.path / name).read_bytes()
    (corpus.path / name).write_bytes(data[:keep])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        open_corpus(corpus.path)


@pytest.mark.parametrize("name", ["train-00000.bin", "val-00000.idx", "tokenizer.json"])
def test_a_file_that_is_missing_is_named(corpus: Corpus, name: str) -> None:
    (corpus.path / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        open_corpus(corpus.path)


def test_what_is_no_corpus_is_refused_with_the_mend(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(InputError, match="xunlian prepare TEXT --out"):
        open_corpus(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no corpus\.json"):
        open_corpus(tmp_path)
    card = corpus.path / "corpus.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        open_corpus(corpus.path)
    card.write_text(json.dumps({k: v for k, v in content.items() if k != "tokenizer"}))
    with pytest.raises(InputError, match="'tokenizer' is missing"):
        open_corpus(corpus.path)
    card.write_text("{ broken")
    with pytest.raises(InputError, match="not JSON"):
        open_corpus(corpus.path)


def test_another_tokenizer_in_the_folder_is_noticed(corpus: Corpus) -> None:
    path = corpus.path / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace('"Ā"', '"changed"'), "utf-8")
    with pytest.raises(InputError, match="not the tokenizer"):
        open_corpus(corpus.path)
