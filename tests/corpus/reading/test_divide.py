"""The documents of a file's parts are those of the file, wherever it is divided."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from made_reading import read

from xunlian.corpus import pieces
from xunlian.corpus.clean import is_blank
from xunlian.corpus.reading import divide, parts, texts, unpack
from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.sources import find_sources
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as Settings

HOSTILE = ["\n", "\r\n", "\n\n", "\n \t\n", "\r", " ", "词", "é", "😀", "word", "\u3000", "\ufeff"]
HOSTILE += ["\n\r\n", "\x85", "\u2028", "x" * 30, "的中国人", "", "\x0c"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and pieces of a few characters, so that their borders are everywhere."""
    for module in (pieces, texts):
        monkeypatch.setattr(module, "PIECE", 23)
    for module in (unpack, divide):
        monkeypatch.setattr(module, "BLOCK", 29)
    monkeypatch.setattr(unpack, "_PACKED", 13)


def same(path: Path, rng: random.Random, **settings: object) -> int:
    """Compares some divisions of the file with the whole; returns the most parts there were."""
    whole = read(path, **settings)
    most = 0
    for size in (1, 7, rng.randrange(1, 40), rng.randrange(1, 400)):
        divided = read(path, part_bytes=size, **settings)
        assert divided.texts == whole.texts and divided.kinds == whole.kinds
        assert divided.counts == whole.counts
        assert len(set(divided.ids)) == len(divided.ids)
        assert [reason for *_, reason in divided.aside] == [reason for *_, reason in whole.aside]
        most = max(
            most, len(split_into_parts(*find_sources([str(path)]), Settings(**settings), size))
        )
    return most


@pytest.mark.parametrize("documents", ["line", "paragraph", "file"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_plain_text_in_parts_is_the_plain_text(
    documents: str, encoding: str, small: None, tmp_path: Path
) -> None:
    most = 0
    for seed in range(25):
        rng = random.Random(seed)
        text = "".join(rng.choices(HOSTILE, k=rng.randrange(1, 120)))
        path = tmp_path / "a.txt"
        path.write_bytes((text + "x").encode(encoding, "replace"))
        named = encoding.removesuffix("-sig")
        most = max(most, same(path, rng, documents=documents, encoding=named))
    assert most == 1 if documents == "file" or encoding == "utf-16" else most > 5


@pytest.mark.parametrize("packed", ["", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "tsv", "txt"])
def test_lines_in_parts_are_the_lines(kind: str, packed: str, small: None, tmp_path: Path) -> None:
    most = 0
    for seed in range(25):
        rng = random.Random(seed)
        lines = ["name\ttext"] if kind == "tsv" else []
        for number in range(rng.randrange(1, 30)):
            text = "".join(rng.choices(HOSTILE, k=rng.randrange(0, 8)))
            if kind == "jsonl":
                lines.append(json.dumps({"text": text}, ensure_ascii=rng.random() < 0.5))
                lines += ["", " ", "{broken"][: rng.randrange(4)]
            else:
                text = "".join(c for c in text if c not in "\r\n\t")
                lines.append(f"{number}\t{text}" if kind == "tsv" else text)
        end = rng.choice(["\n", "\r\n"])
        data = (end.join(lines) + rng.choice(["", end])).encode()
        path = tmp_path / f"a.{kind}{packed}"
        if packed:
            at = sorted(rng.choices(range(len(data) + 1), k=6))
            frames = [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)]
            data = b"".join(zstandard.compress(frame) for frame in frames)
        path.write_bytes(data)
        most = max(most, same(path, rng, on_error="skip", documents="line", encoding="utf-8"))
    assert most == 1 if (kind, packed) == ("tsv", ".zst") else most > 5


def test_the_encoding_is_found_once_for_all_parts(tmp_path: Path) -> None:
    """Lines without any common character, which alone would be refused, behind those that tell."""
    text = "plain line\n" * 50 + "中国的文字，是在这里才开始的。\n" * 20_000 + "龘靐齉\n" * 200_000
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("gb18030"))
    divided = read(path, part_bytes=300_000, documents="line")
    assert divided.texts == text.split("\n")[:-1]
    assert divided.advanced == path.stat().st_size


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_tables_in_parts_are_the_tables(kind: str, tmp_path: Path) -> None:
    rows = pa.table({"text": [f"文{i} " * (i % 9) for i in range(1000)], "n": list(range(1000))})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(rows, path, row_group_size=70)
    else:
        with pa.ipc.new_file(path, rows.schema) as file:
            file.write_table(rows, max_chunksize=70)
    whole = read(path)
    assert len(whole.texts) == 888 and whole.counts["empty_documents"] == 112
    for size in (1, 3000, 9000, 10**9):
        divided = read(path, part_bytes=size)
        assert divided.texts == whole.texts
        assert len(set(divided.ids)) == len(divided.ids)
        if kind == "parquet":
            assert divided.ids == whole.ids
    assert len(split_into_parts(*find_sources([str(path)]), Settings(), 1)) == 15


def record(number: int, body: str) -> bytes:
    data = body.encode()
    return (
        (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.org/{number}\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode()
        + data
        + b"\r\n\r\n"
    )


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_web_archive_in_parts_is_the_archive(packed: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    records = [
        record(i, f"text {i} \x1f\ufffd\x08 WARC/1.0\r\n\r\n" + "文" * rng.randrange(300))
        for i in range(100)
    ]
    path = tmp_path / f"a.warc{packed}"
    path.write_bytes(b"".join(gzip.compress(r) if packed else r for r in records))
    whole = read(path)
    assert len(whole.texts) == 100 and whole.ids[7].endswith("#7 http://a.org/7")
    for size in (1, 400, 1000, 5000, 10**9):
        assert read(path, part_bytes=size).texts == whole.texts
    assert len(split_into_parts(*find_sources([str(path)]), Settings(), 1)) == 100


def test_a_web_archive_within_a_record_is_not_cut_silently(tmp_path: Path) -> None:
    inner = gzip.compress(record(2, "inner"))
    path = tmp_path / "a.warc.gz"
    outer = record(1, "outer").replace(b"outer", b"outer" + inner)  # more than its length says
    stored = gzip.compress(outer, 0)
    assert inner in stored
    path.write_bytes(gzip.compress(record(0, "first")) + stored + gzip.compress(record(3, "last")))
    at = path.read_bytes().index(inner)
    source = find_sources([str(path)])[0]
    stamp = source.stamp()
    with pytest.raises(InputError, match="cannot be read in parts"):
        list(parts.part_blocks(parts.Part(source, 0, at, stamp=stamp), lambda _: None))


def test_a_file_that_changed_since_it_was_divided_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\nthree\n")
    source = find_sources([str(path)])[0]
    divided = split_into_parts(source, Settings(documents="line"), 5)
    assert len(divided) > 1
    path.write_text("other\n")
    with pytest.raises(InputError, match="changed while"):
        list(parts.part_blocks(divided[1], lambda _: None))


def test_a_wrong_field_is_said_once_and_not_at_every_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": "x"}\n' * 1000)
    found = read(path, part_bytes=100, on_error="skip")
    assert found.counts["broken_files"] == 1 and len(found.aside) == 1


def test_paragraphs_are_the_lines_between_blank_lines(small: None, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for seed in range(40):
        rng = random.Random(seed)
        text = "".join(rng.choices(HOSTILE, k=rng.randrange(1, 120))) + "x"
        path.write_bytes(text.encode())
        expected: list[list[str]] = [[]]
        for line in (
            text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        ):
            if line.strip():
                expected[-1].append(line)
            elif expected[-1]:
                expected.append([])
        joined = ["\n".join(lines) for lines in expected]
        found = read(path, documents="paragraph", encoding="utf-8").texts
        assert found == [paragraph for paragraph in joined if not is_blank(paragraph)]
