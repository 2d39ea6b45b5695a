"""The whole preparation, checked against the text it was made from."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from xunlian.commands.prepare import prepare
from xunlian.corpus.build import build_corpus
from xunlian.corpus.engines.engine import Engine
from xunlian.corpus.pieces import PIECE
from xunlian.errors import InputError
from xunlian.recipe.samples import samples_folder
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import Corpus
from xunlian.tokenizer.tokenizer import load_tokenizer

SHAKESPEARE = samples_folder() / "shakespeare.txt"
SONGCI = samples_folder() / "songci.txt"


def build(
    out: Path,
    *sources: Path,
    workers: int = 1,
    shard_tokens: int = 2**28,
    kind: str = "byte",
    vocab_size: int | None = None,
    sample_bytes: int = 10**7,
    **settings: str,
) -> Corpus:
    corpus = CorpusSettings(sources=tuple(map(str, sources)), **settings)  # type: ignore[arg-type]
    tokenizer = TokenizerSettings(kind=kind, vocab_size=vocab_size, sample_bytes=sample_bytes)
    return build_corpus(corpus, tokenizer, out, Engine(workers=workers), shard_tokens)


def texts(corpus: Corpus, split: str) -> list[str]:
    """The documents read back from the shards."""
    tokenizer = load_tokenizer(corpus.path)
    return [tokenizer.decode(document) for document in corpus.stream(split).documents()]


def fingerprint(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_tiny_shakespeare_is_split_as_nanogpt_splits_it(kind: str, tmp_path: Path) -> None:
    corpus = build(tmp_path / "out", SHAKESPEARE, kind=kind, val="0.1")
    data = SHAKESPEARE.read_text("utf-8")
    n = len(data)
    assert texts(corpus, "train") == [data[: int(n * 0.9)]]
    assert texts(corpus, "val") == [data[int(n * 0.9) :]]
    if kind == "char":
        # nanoGPT/data/shakespeare_char/prepare.py prints these
        assert corpus.tokens("train") == 1_003_854 + 1 and corpus.tokens("val") == 111_540 + 1


def test_the_document_end_is_the_only_token_added(tmp_path: Path) -> None:
    corpus = build(
        tmp_path / "out", SONGCI, kind="bpe", documents="paragraph", val="0", sample_bytes=100_000
    )
    tokenizer = load_tokenizer(corpus.path)
    poems = SONGCI.read_text("utf-8").strip().split("\n\n")
    read = list(corpus.stream("train").documents())
    assert len(read) == len(poems) == 3857
    for document, poem in zip(read, poems, strict=True):
        assert document.tolist() == [*tokenizer.encode(poem), corpus.end_id]


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    lines = SONGCI.read_text("utf-8")[:60_000] + SHAKESPEARE.read_text("utf-8")[:200_000]
    (tmp_path / "text" / "a.txt").write_text(lines.replace("\n", "\r\n"), "utf-8")
    with open(tmp_path / "text" / "b.jsonl", "w") as file:
        for i in range(3000):
            file.write(json.dumps({"text": f"cafe\u0301 {i}\x07 " + "x " * (i % 50)}) + "\n")
    made = [
        fingerprint(
            build(
                tmp_path / f"out{workers}",
                tmp_path / "text",
                workers=workers,
                kind="bpe",
                documents="line",
                shard_tokens=50_000,
            ).path
        )
        for workers in (1, 2, 3)
    ]
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if name.startswith("train-")]) > 4


def test_counts_are_those_of_the_cleaned_text(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    documents = [f"第{i}首\u0007 cafe\u0301 two" for i in range(100)]
    text.write_text("\r\n".join(documents), "utf-8", newline="")
    card = build(tmp_path / "out", text, documents="line", val="0.1").card
    cleaned = [f"第{i}首 caf\u00e9 two" for i in range(100)]
    train, val = card["splits"]["train"], card["splits"]["val"]
    assert (train["documents"], val["documents"]) == (90, 10)
    assert train["characters"] + val["characters"] == sum(map(len, cleaned))
    assert train["bytes"] + val["bytes"] == sum(len(t.encode()) for t in cleaned)
    assert train["words"] + val["words"] == 100 * 5
    assert train["tokens"] == train["bytes"] + train["documents"]
    assert card["cleaned"] == {"line_ends": 99, "control_characters": 100, "pieces_normalized": 100}


@pytest.mark.parametrize("pieces", [0.5, 1.0, 2.7])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_tail_is_cut_at_the_character_wherever_pieces_end(
    pieces: float, fraction: float, tmp_path: Path
) -> None:
    long = "".join(f"第{i} line e\u0301\n" for i in range(30_000))[: int(PIECE * pieces)]
    for name, content in (("1.txt", long), ("2.txt", "short text"), ("3.txt", "z")):
        (tmp_path / name).write_text(content, "utf-8")
    corpus = build(
        tmp_path / "out",
        tmp_path / "1.txt",
        tmp_path / "2.txt",
        tmp_path / "3.txt",
        val=str(fraction),
    )
    cleaned = [long.replace("e\u0301", "\u00e9"), "short text", "z"]
    cuts = [int(len(text) * (1 - fraction)) for text in cleaned]
    heads = [text[:cut] for text, cut in zip(cleaned, cuts, strict=True)]
    assert texts(corpus, "train") == [text for text in heads if text]
    assert texts(corpus, "val") == [t[cut:] for t, cut in zip(cleaned, cuts, strict=True)]


def test_whole_documents_are_held_out_when_there_are_enough(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    lines = [f"document number {i}" for i in range(1000)]
    text.write_text("\n".join(lines))
    corpus = build(tmp_path / "out", text, documents="line", val="0.05")
    train, val = texts(corpus, "train"), texts(corpus, "val")
    assert len(val) == 50 and sorted([*train, *val]) == sorted(lines)
    assert train == [t for t in lines if t in set(train)]


def test_the_tokenizer_never_sees_validation_text(tmp_path: Path) -> None:
    tail = tmp_path / "tail.txt"
    tail.write_text("a" * 900 + "b" * 100)
    corpus = build(tmp_path / "tail", tail, kind="char", val="0.1")
    assert load_tokenizer(corpus.path).backend.token_to_id("b") is None
    whole = tmp_path / "whole.txt"
    whole.write_text("\n".join(chr(0x4E00 + i) for i in range(400)))
    corpus = build(tmp_path / "whole", whole, kind="char", documents="line", val="0.1")
    for document in texts(corpus, "val"):
        assert load_tokenizer(corpus.path).backend.token_to_id(document) is None
    assert corpus.vocab_size == 1 + 360 + 1 + 256  # end, documents, line feed between them, bytes


def test_a_validation_file_is_kept_out_of_the_folder_it_lies_in(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("to train on")
    (tmp_path / "text" / "val.txt").write_text("to validate on")
    corpus = build(tmp_path / "out", tmp_path / "text", val=str(tmp_path / "text" / "val.txt"))
    assert texts(corpus, "train") == ["to train on"]
    assert texts(corpus, "val") == ["to validate on"]
    with pytest.raises(InputError, match="nothing is left to train on"):
        build(tmp_path / "out2", tmp_path / "text", val=str(tmp_path / "text"))


def test_without_validation_the_split_is_empty(tmp_path: Path) -> None:
    corpus = build(tmp_path / "out", SHAKESPEARE, val="0")
    assert corpus.tokens("val") == 0 and len(corpus.stream("val")) == 0
    assert texts(corpus, "train") == [SHAKESPEARE.read_text("utf-8")]
    assert corpus.card["fertility"]["english_tokens_per_word"] > 4


def test_fertility_is_tokens_per_character_for_chinese_and_per_word_for_english(
    tmp_path: Path,
) -> None:
    english = tmp_path / "en.txt"
    english.write_text("abc defg\n" * 50)
    chinese = tmp_path / "zh.txt"
    chinese.write_text("明月几时有\n" * 50, "utf-8")
    fertility = build(tmp_path / "out", english, chinese, val="0").card["fertility"]
    assert fertility["chinese_tokens_per_character"] == 3.0  # bytes
    assert fertility["english_tokens_per_word"] == 4.0
    assert fertility["chinese_characters_measured"] == 250


def test_a_large_vocabulary_is_stored_as_int32(tmp_path: Path) -> None:
    learned = load_tokenizer(build(tmp_path / "a", SHAKESPEARE).path)
    learned.backend.add_tokens([f"<extra_{i}>" for i in range(70_000)])
    learned.backend.save(str(tmp_path / "large.json"))
    corpus = build(tmp_path / "b", SHAKESPEARE, kind=str(tmp_path / "large.json"), val="0")
    assert corpus.card["dtype"] == "int32" and corpus.card["tokenizer"]["kind"] == "given"
    assert texts(corpus, "train") == [SHAKESPEARE.read_text("utf-8")]


def test_a_given_tokenizer_is_used_and_recognised(tmp_path: Path) -> None:
    first = build(tmp_path / "first", SHAKESPEARE, kind="bpe", sample_bytes=200_000)
    second = build(tmp_path / "second", SONGCI, kind=str(tmp_path / "first"), val="0")
    assert second.tokenizer_fingerprint == first.tokenizer_fingerprint
    assert texts(second, "train") == [SONGCI.read_text("utf-8")]
    with pytest.raises(InputError, match="Leave vocab_size out"):
        build(tmp_path / "third", SONGCI, kind=str(tmp_path / "first"), vocab_size=500)


def test_a_vocabulary_the_text_cannot_support_is_refused_only_when_asked_for(
    tmp_path: Path,
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a few words, a few more words\n" * 10)
    with pytest.raises(InputError, match="vocab_size = 4000 is more than this text supports"):
        build(tmp_path / "out", text, kind="bpe", vocab_size=4000)
    assert not (tmp_path / "out").exists()
    assert build(tmp_path / "out", text, kind="bpe").vocab_size < 400


def test_the_tokenizer_is_the_same_whether_its_sample_is_whole_or_bounded(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", SHAKESPEARE, kind="bpe")
    bounded = build(tmp_path / "bounded", SHAKESPEARE, kind="bpe", sample_bytes=300_000)
    assert whole.vocab_size == bounded.vocab_size
    # A third of the text, spread over all of it, makes nearly as good a tokenizer.
    assert bounded.tokens("train") < 1.03 * whole.tokens("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [(" \n\n \t\n", "has no text"), ("\ufeff\n", "has no text"), ("x", "too short to hold out")],
)
def test_text_with_nothing_in_it_is_refused(content: str, message: str, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out", text)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_preparation_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "a.jsonl"
    broken.write_text('{"text": "one"}\nbroken\n' * 30)
    with pytest.raises(InputError, match="30 broken lines"):
        build(tmp_path / "deep" / "er" / "out", broken)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
    corpus = build(tmp_path / "out", broken, on_error="skip")
    assert corpus.card["dropped"] == {"empty_documents": 0, "broken_records": 30}


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        build(tmp_path / "out", SHAKESPEARE)
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_the_card_names_the_sources_as_given_and_no_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").mkdir()
    Path("text/a.txt").write_text("some text to keep")
    first = prepare("text", out="one", tokenizer="byte")
    second = prepare("text", out="two", tokenizer="byte")
    assert first.card["sources"] == [{"name": "text/a.txt", "bytes": 17}]
    assert fingerprint(first.path) == fingerprint(second.path)
    assert str(tmp_path) not in (first.path / "corpus.json").read_text()


def test_a_reader_of_nanogpt_gets_the_stream(tmp_path: Path) -> None:
    corpus = build(tmp_path / "out", SHAKESPEARE, kind="bpe", val="0.1")
    data = np.memmap(corpus.path / "train-00000.bin", dtype=np.uint16, mode="r")
    assert (data == corpus.stream("train").read(0, corpus.tokens("train"))).all()


def test_a_file_that_vanishes_before_it_is_read_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xunlian.corpus import build as module

    folder = tmp_path / "in"
    find = module.find_inputs

    def find_and_lose(corpus: CorpusSettings) -> object:
        folder.mkdir(exist_ok=True)
        for name in "abc":
            (folder / f"{name}.txt").write_text(f"text of {name}")
        found = find(corpus)
        (folder / "b.txt").unlink()
        return found

    monkeypatch.setattr(module, "find_inputs", find_and_lose)
    with pytest.raises(InputError, match=r"b\.txt' cannot be read \(No such file"):
        build(tmp_path / "stop", folder, val="0")
    corpus = build(tmp_path / "skip", folder, val="0", on_error="skip")
    assert texts(corpus, "train") == ["text of a", "text of c"]
    assert [name for name, *_ in corpus.card["set_aside"]] == [f"{folder}/b.txt"]
    (folder / "a.txt").unlink()
    (folder / "c.txt").write_bytes(b"\0" * 1000)
    monkeypatch.setattr(module, "find_inputs", find)
    with pytest.raises(InputError, match=r"no text that can be read: .*c\.txt' is a binary file"):
        build(tmp_path / "none", folder, val="0", on_error="skip")
