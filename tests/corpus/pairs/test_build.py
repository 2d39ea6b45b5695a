"""A corpus of pairs, checked against the pairs it was made from."""

import gzip
import hashlib
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import shared_data

import xunlian
from xunlian.corpus.pairs.build import build_pair_corpus
from xunlian.corpus.pairs.clean import PairFilter
from xunlian.corpus.pairs.read import find_pairs, read_pairs
from xunlian.corpus.pairs.survey import find_reading, kept_pairs, survey_pairs
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.tokenizer.patterns import END, PAD
from xunlian.tokenizer.tokenizer import load_tokenizer
from xunlian.tokenizer.train import train_tokenizer

PAIRS = [(f"The {i}th man sees a dog.", f"Der {i}. Mann sieht einen Hund.") for i in range(400)]


def aligned(folder: Path, pairs: list[tuple[str, str]], name: str = "train") -> tuple[Path, Path]:
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        path.write_text("".join(f"{text}\n" for text in side), "utf-8")
    return paths


def build(
    out: Path,
    *sources: Path,
    workers: int = 1,
    shard_tokens: int = 2**28,
    kind: str = "byte",
    task: str = "translation",
    vocab_size: int | None = None,
    **settings: object,
) -> Corpus:
    recipe = Recipe(
        task=task,  # type: ignore[arg-type]
        corpus=CorpusSettings(sources=tuple(map(str, sources)), **settings),  # type: ignore[arg-type]
        tokenizer=TokenizerSettings(kind=kind, vocab_size=vocab_size),
    )
    return build_pair_corpus(recipe, out, workers, shard_tokens)


def pairs_of(corpus: Corpus, split: str) -> list[tuple[str, str]]:
    """The pairs read back from the shards."""
    tokenizer = load_tokenizer(corpus.path)
    sides = (corpus.stream(split, column).documents() for column in ("source", "target"))
    return [
        (tokenizer.decode(source), tokenizer.decode(target))
        for source, target in zip(*sides, strict=True)
    ]


def fingerprint(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_pairs_come_back_side_by_side(tmp_path: Path) -> None:
    val = [("A cat.", "Eine Katze."), ("Two cats.", "Zwei Katzen.")]
    corpus = build(
        tmp_path / "out",
        *aligned(tmp_path, PAIRS),
        val=[str(path) for path in aligned(tmp_path, val, "val")],
    )
    assert pairs_of(corpus, "train") == PAIRS and pairs_of(corpus, "val") == val
    assert (corpus.task, corpus.languages) == ("translation", {"source": "en", "target": "de"})
    corpus.verify()


def test_the_card_counts_each_side(tmp_path: Path) -> None:
    card = build(tmp_path / "out", *aligned(tmp_path, PAIRS), val="0").split_card("train")
    for column, texts in zip(("source", "target"), zip(*PAIRS, strict=True), strict=True):
        size = sum(len(text.encode()) for text in texts)
        side = card["columns"][column]
        assert side["bytes"] == size and side["tokens"] == size + len(PAIRS)  # bytes, and ends
        assert side["words"] == sum(len(text.split()) for text in texts)
    assert card["pairs"] == card["documents"] == len(PAIRS)
    for key in ("tokens", "bytes", "characters", "words"):
        assert card[key] == sum(side[key] for side in card["columns"].values())
    assert {s["name"]: s["column"] for s in card["shards"]} == {
        "train-00000.source": "source",
        "train-00000.target": "target",
    }


def test_every_document_ends_with_the_end_token_and_holds_no_other_special_one(
    tmp_path: Path,
) -> None:
    pairs = [*PAIRS, (f"say {END} and {PAD}", f"sage {PAD} und {END}")]
    corpus = build(tmp_path / "out", *aligned(tmp_path, pairs), val="0", kind="bpe")
    assert corpus.pad_id == corpus.vocab_size - 1 != corpus.end_id
    for column in ("source", "target"):
        for document in corpus.stream("train", column).documents():
            assert document[-1] == corpus.end_id
            assert not np.isin(document[:-1], [corpus.end_id, corpus.pad_id]).any()
    assert pairs_of(corpus, "train")[-1] == pairs[-1]


def test_bounds_give_every_length_across_shards(tmp_path: Path) -> None:
    corpus = build(tmp_path / "out", *aligned(tmp_path, PAIRS), val="0", shard_tokens=1500)
    for column in ("source", "target"):
        stream = corpus.stream("train", column)
        assert len(stream.shards) > 5
        spans = list(stream.spans())
        expected = np.array([start for start, _ in spans] + [len(stream)])
        for first, last in ((0, 400), (0, 0), (400, 400), (57, 58), (30, 391)):
            assert stream.bounds(first, last).tolist() == expected[first : last + 1].tolist()
        assert stream.bounds(0, 400).dtype == np.int64
        with pytest.raises(IndexError):
            stream.bounds(0, 401)
    assert pairs_of(corpus, "train") == PAIRS


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xunlian.corpus.encode._BATCH_CHARACTERS", 3_000)
    monkeypatch.setattr("xunlian.corpus.pairs.survey._BATCH_PAIRS", 37)
    paths = aligned(tmp_path, PAIRS * 2)
    one = build(tmp_path / "one", *paths, kind="bpe", val="0.1", shard_tokens=4000)
    two = build(tmp_path / "two", *paths, kind="bpe", val="0.1", shard_tokens=4000, workers=2)
    assert fingerprint(one.path) == fingerprint(two.path)
    assert one.card["dropped"]["duplicates"] == len(PAIRS)


def test_a_held_out_pair_is_never_trained_on(tmp_path: Path) -> None:
    corpus = build(tmp_path / "out", *aligned(tmp_path, PAIRS * 3), val="0.1")
    train, val = pairs_of(corpus, "train"), pairs_of(corpus, "val")
    assert len(val) == 40 and sorted(train + val) == sorted(PAIRS)


def test_what_is_dropped_is_counted_by_its_reason(tmp_path: Path) -> None:
    bad = [
        ("", "Nichts."),
        ("Nothing.", " \u3000"),
        ("", ""),
        ("OK", "OK"),
        ("Word. " * 30, "Wort."),
        ("Это не английский.", "Das ist Deutsch."),
        PAIRS[0],
    ]
    val = [*bad, ("Fine.", "Gut.")]
    corpus = build(
        tmp_path / "out",
        *aligned(tmp_path, PAIRS + bad),
        val=[str(path) for path in aligned(tmp_path, val, "val")],
    )
    assert pairs_of(corpus, "train") == PAIRS[1:]  # the first is validated on
    # Of the validation pairs only those with an empty side go.
    assert pairs_of(corpus, "val") == [(s.strip(), t) for s, t in val[3:]]
    assert corpus.card["dropped"] == {
        "empty_source": 2 + 2,
        "empty_target": 1 + 1,
        "identical": 1,
        "length_ratio": 1,
        "wrong_language": 1,
        "duplicates": 2,
        "broken_records": 0,
    }


def test_summaries_may_be_short_and_translations_may_be_told_to_be(tmp_path: Path) -> None:
    pairs = [(f"{i}. " + "A long story. " * 30, f"Story {i}.") for i in range(30)]
    paths = aligned(tmp_path, pairs)
    corpus = build(tmp_path / "summaries", *paths, task="summarization", val="0")
    assert corpus.split_card("train")["pairs"] == 30 and corpus.task == "summarization"
    assert build(tmp_path / "off", *paths, val="0", max_length_ratio=0).tokens("train") > 30
    with pytest.raises(InputError, match=r"No pair is left.*had 30, dropped were 30 length_ratio"):
        build(tmp_path / "out", *paths, val="0")
    assert not (tmp_path / "out").exists()


def test_chinese_of_another_encoding_on_each_side(tmp_path: Path) -> None:
    pairs = [
        (f"第{i}天，學而時習之，不亦說乎？", f"第{i}天：学了又时常温习，不是很愉快吗？")
        for i in range(30)
    ]
    source, target = tmp_path / "train.lzh", tmp_path / "train.zh"
    source.write_bytes("\n".join(source for source, _ in pairs).encode("utf-16"))
    target.write_bytes("\r\n".join(target for _, target in pairs).encode("gb18030"))
    corpus = build(tmp_path / "out", source, target, val="0", kind="char")
    assert pairs_of(corpus, "train") == pairs
    assert corpus.languages == {"source": "lzh", "target": "zh"}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "byte", "char"])
def test_transformers_appends_the_end_and_knows_the_padding(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    size = {"bpe": 285, "unigram": 350, "wordpiece": 80}.get(kind)
    corpus = build(tmp_path / "out", *aligned(tmp_path, PAIRS), val="0", kind=kind, vocab_size=size)
    theirs = transformers.AutoTokenizer.from_pretrained(corpus.path)
    ours = load_tokenizer(corpus.path)
    assert ours.pad_id == theirs.pad_token_id == corpus.pad_id
    assert size in (None, corpus.vocab_size)
    text = PAIRS[7][0]
    assert theirs(text).input_ids == [*ours.encode(text), corpus.end_id]
    assert (
        corpus.stream("train", "source")
        .read(*corpus.stream("train", "source").bounds(7, 8))
        .tolist()
        == theirs(text).input_ids
    )


def test_a_given_tokenizer_is_kept_and_without_padding_the_end_fills(tmp_path: Path) -> None:
    plain = train_tokenizer(iter(["Der Mann sieht einen Hund"]), "byte", 257)
    plain.save(tmp_path / "plain")
    paths = aligned(tmp_path, PAIRS)
    corpus = build(tmp_path / "out", *paths, val="0", kind=str(tmp_path / "plain"))
    assert corpus.vocab_size == 257 and corpus.pad_id == corpus.end_id
    assert load_tokenizer(corpus.path).pad_id is None
    first = build(tmp_path / "first", *paths, val="0", kind="bpe")
    again = build(tmp_path / "again", *paths, val="0", kind=str(first.path))
    assert again.tokenizer_fingerprint == first.tokenizer_fingerprint
    assert again.pad_id == first.pad_id != first.end_id


def test_a_corpus_of_pairs_is_no_text_and_the_other_way_round(tmp_path: Path) -> None:
    pairs = build(tmp_path / "pairs", *aligned(tmp_path, PAIRS), val="0")
    with pytest.raises(InputError, match=r"corpus of pairs .* takes a corpus of text"):
        pairs.stream("train")
    text = xunlian.prepare(tmp_path / "train.en", out=tmp_path / "text", tokenizer="byte", val=0)
    assert text.task == "language-model" and text.pad_id == text.end_id
    with pytest.raises(InputError, match=r"corpus of text .* takes a corpus of pairs"):
        text.stream("train", "source")


def test_validation_files_among_the_sources_are_not_trained_on(tmp_path: Path) -> None:
    for name, pairs in (("a", PAIRS), ("b", [("A cat.", "Eine Katze.")])):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs), "utf-8")
    corpus = build(tmp_path / "out", tmp_path, val=str(tmp_path / "b.tsv"))
    assert pairs_of(corpus, "train") == PAIRS
    with pytest.raises(InputError, match="nothing is left to train on"):
        build(tmp_path / "out2", tmp_path / "b.tsv", val=str(tmp_path / "b.tsv"))


def test_pairs_of_the_validation_files_are_not_trained_on(tmp_path: Path) -> None:
    val = [str(path) for path in aligned(tmp_path, PAIRS[:30], "val")]
    corpus = build(tmp_path / "out", *aligned(tmp_path, PAIRS), val=val)
    assert pairs_of(corpus, "train") == PAIRS[30:] and pairs_of(corpus, "val") == PAIRS[:30]
    assert corpus.card["dropped"]["duplicates"] == 30


def test_files_that_change_between_the_two_passes_are_noticed(tmp_path: Path) -> None:
    paths = aligned(tmp_path, PAIRS)
    sources = tuple(map(str, paths))
    reading = find_reading(Recipe(task="translation", corpus=CorpusSettings(sources=sources)))
    found = survey_pairs(reading)
    for more in (PAIRS[:-1], [*PAIRS, ("one", "eins")]):
        aligned(tmp_path, more)
        with pytest.raises(InputError, match="changed between two readings"):
            list(kept_pairs(reading, found, Counter(), lambda _: None))


def test_too_few_pairs_to_hold_out_a_part(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 pairs are too few to hold out 0\.05"):
        build(tmp_path / "out", *aligned(tmp_path, PAIRS[:3]))
    empty = aligned(tmp_path, [("", "x")], "val")
    with pytest.raises(InputError, match=r"val\.en.*has no pair to validate on"):
        build(tmp_path / "out", *aligned(tmp_path, PAIRS[:3]), val=[str(p) for p in empty])
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """40 MB of text; what stays in memory is a batch, and the hashes."""
    count = 40_000
    paths = tmp_path / "long.en.gz", tmp_path / "long.de.gz"
    for path, word in zip(paths, ("dog", "Hund"), strict=True):
        with gzip.open(path, "wt", compresslevel=1) as file:
            file.writelines(f"{i} {word} {'x' * 500}\n" for i in range(count))
    settings = CorpusSettings(sources=tuple(map(str, paths)))
    rules = PairFilter(3.0, ("en", "de"))
    tracemalloc.start()
    try:
        pairs = read_pairs(
            find_pairs(settings.sources), settings, ("en", "de"), Counter(), lambda _: None
        )
        kept, batch = 0, []
        for pair in pairs:
            batch.append(pair)
            if len(batch) == 1000:
                kept += rules.reasons(batch).count(None)
                batch.clear()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept == count
    assert peak < 15_000_000


def test_multi30k_as_in_the_readme(tmp_path: Path) -> None:
    train, val = (
        [shared_data(f"translation/multi30k/{split}.{code}.gz") for code in ("en", "de")]
        for split in ("train", "val")
    )
    corpus = xunlian.prepare(*train, pairs=True, val=val, out=tmp_path / "out", vocab_size=4000)
    # 29,000 lines: two German ones are '@@', three pairs stand there twice.
    assert corpus.split_card("train")["pairs"] == 28_995
    assert corpus.split_card("val")["pairs"] == 1_014
    assert corpus.card["dropped"]["length_ratio"] == 2
    assert corpus.card["dropped"]["duplicates"] == 3
    lines = [gzip.decompress(path.read_bytes()).decode().splitlines() for path in val]
    sides = ([line.strip() for line in side] for side in lines)
    assert pairs_of(open_corpus(corpus.path), "val") == list(zip(*sides, strict=True))
