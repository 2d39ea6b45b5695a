"""What comes out of every kind of file, and what is said of the broken ones."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from xunlian.corpus.pieces import PIECE
from xunlian.corpus.reading.readers import read_documents
from xunlian.corpus.reading.sources import find_sources
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as Settings

TEXTS = ["First document.\nTwo lines.", "第二篇：明月几时有。", 'third, with "quotes"\n\nand a gap']


def documents(*inputs: Path, counts: Counter[str] | None = None, **settings: object) -> list[str]:
    """Each document whole."""
    found: list[str] = []
    sources = find_sources([str(path) for path in inputs])
    tally = Counter() if counts is None else counts
    whole = True
    for piece in read_documents(sources, Settings(**settings), tally, lambda _: None):  # type: ignore[arg-type]
        assert piece.first == whole and len(piece.text) <= PIECE
        if piece.first:
            found.append("")
        found[-1] += piece.text
        whole = piece.last
    assert whole
    return found


def write(path: Path, texts: list[str], field: str = "text") -> Path:
    """The texts as records of the kind that the file's name says."""
    kind = next(k for k in ("jsonl", "csv", "parquet", "txt", "md") if f".{k}" in path.name)
    if kind == "jsonl":
        lines = [json.dumps({"id": i, field: t}, ensure_ascii=False) for i, t in enumerate(texts)]
        data = ("\n".join(lines) + "\n").encode()
    elif kind == "csv":
        rows = [f'{i},"{t.replace(chr(34), chr(34) * 2)}"' for i, t in enumerate(texts)]
        data = "\r\n".join([f"id,{field}", *rows]).encode()
    elif kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"id": list(range(len(texts))), field: texts}), sink)
        data = sink.getvalue().to_pybytes()
    else:
        data = "".join(texts).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_record_is_a_document(kind: str, packed: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}{packed}", [*TEXTS, "", "  \n"])
    counts: Counter[str] = Counter()
    assert documents(path, counts=counts) == TEXTS
    assert counts["empty_documents"] == 2


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["txt", "md"])
def test_a_text_file_is_a_document(kind: str, packed: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}{packed}", TEXTS)
    assert documents(path) == ["".join(TEXTS)]


def test_a_text_file_can_be_cut_at_lines_or_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\none\r\ntwo\r\n\r\n  \r\n  three\r\n\n\n\nfour\n")
    assert documents(path) == ["\n\none\ntwo\n\n  \n  three\n\n\n\nfour\n"]
    assert documents(path, documents="paragraph") == ["one\ntwo", "  three", "four"]
    assert documents(path, documents="line") == ["one", "two", "  three", "four"]


@pytest.mark.parametrize("kind", ["file", "paragraph", "line"])
@pytest.mark.parametrize("unit", ["word ", "词", "line\n", "é\u0301", "word\r\n"])
def test_a_huge_document_comes_in_bounded_pieces_and_loses_nothing(
    kind: str, unit: str, tmp_path: Path
) -> None:
    text = unit * (3 * PIECE // len(unit))
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    expected = text.replace("\r\n", "\n")
    assert "".join(documents(path, documents=kind)).replace("\n", "") == expected.replace("\n", "")
    if kind == "file":
        assert documents(path) == [expected]


def test_a_folder_is_searched_in_a_fixed_order_and_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "2.txt", ["two"])
    write(tmp_path / "1.jsonl", ["one"])
    write(tmp_path / "c.csv.gz", ["three"])
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0")
    (tmp_path / ".hidden.txt").write_text("no")
    assert documents(tmp_path) == ["one", "two", "three"]
    assert documents(tmp_path / "1.jsonl", tmp_path, tmp_path / "*.jsonl") == [
        "one",
        "two",
        "three",
    ]
    assert documents(tmp_path / "**" / "*.txt") == ["two"]


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("gb18030", b""),
        ("gbk", b""),
    ],
)
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_encodings_are_recognised(encoding: str, bom: bytes, kind: str, tmp_path: Path) -> None:
    text = "ASCII first. 明月几时有，把酒问青天。不知天上宫阙，今夕是何年。"
    head = {"txt": "", "jsonl": '{"text": "', "csv": 'text\n"'}[kind]
    tail = {"txt": "", "jsonl": '"}', "csv": '"\n'}[kind]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bom + (head + text + tail).encode(encoding))
    assert documents(path) == [text]


def test_gb18030_is_recognised_after_megabytes_of_ascii(tmp_path: Path) -> None:
    text = "plain line\n" * 200_000 + "中国的文字，是在这里才开始的。\n" * 100_000
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("gb18030"))
    assert documents(path) == [text]


KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Les élèves français étaient très âgés, où ça? Déjà vu à Noël.", "latin-1"),
        ("Все люди рождаются свободными и равными в своем достоинстве.", "cp1251"),
        (KOREAN, "euc_kr"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "shift_jis"),
    ],
)
def test_other_encodings_are_refused_unless_named(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"a\.txt.*neither UTF-8.*corpus\.encoding="):
        documents(path)
    assert documents(path, encoding=encoding) == [text]


def test_a_wrong_byte_far_into_a_file_is_named_by_its_place(tmp_path: Path) -> None:
    data = "文".encode() * 1_000_000
    path = tmp_path / "a.txt"
    path.write_bytes(data + b"\xff" + data)
    with pytest.raises(InputError, match=r"a\.txt.*byte 3,000,000"):
        documents(path)


def test_a_misspelt_encoding_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", ["x"])
    with pytest.raises(InputError, match="Did you mean 'gb18030'"):
        documents(path, encoding="gb18031")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "noending", "a.txt.gz"])
def test_a_binary_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 50
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(InputError, match=rf"'.*{name}' is a? ?binary"):
        documents(path)


@pytest.mark.parametrize("keep", [0.3, 0.9, -1])
@pytest.mark.parametrize(
    "name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.csv.zst", "a.parquet", "a.parquet.gz"]
)
def test_a_truncated_file_is_refused_by_name(name: str, keep: float, tmp_path: Path) -> None:
    path = write(tmp_path / name, [f"text {i * 7919 % 1000}" for i in range(5000)])
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep < 0 else int(len(data) * keep)])
    with pytest.raises(InputError, match=rf"{name}' is damaged"):
        documents(path)


def test_frames_of_a_compressed_file_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(b"one ") + zstandard.compress(b"two"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    assert documents(tmp_path / "a.txt.zst") == documents(tmp_path / "a.txt.gz") == ["one two"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_wrong_field_names_the_nearest(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}", TEXTS, field="content")
    with pytest.raises(InputError, match=r"no field 'contents'\. Did you mean 'content'"):
        documents(path, text_field="contents")
    assert documents(path, text_field="content") == TEXTS


def test_a_column_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS)
    with pytest.raises(InputError, match="'id' holds int64"):
        documents(path, text_field="id")


BROKEN = '{"text": "one"}\n{"text": \n\n[1]\n{"text": 5}\n{"other": "x"}\n{"text": "two"}\n\xff{}\n'


def test_broken_lines_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(BROKEN.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.jsonl' has 5 broken lines \(line 2, 4, 5, 6, 8;"):
        documents(path)


def test_broken_lines_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(BROKEN.encode("latin-1"))
    counts: Counter[str] = Counter()
    assert documents(path, counts=counts, on_error="skip") == ["one", "two"]
    assert counts["broken_records"] == 5


def test_broken_rows_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,one\n2,two,three\n3\n4,"four"x\n5,five\n')
    with pytest.raises(InputError, match=r"a\.csv' has 3 broken lines \(line 3, 4, 5;"):
        documents(path)
    assert documents(path, on_error="skip") == ["one", "five"]


@pytest.mark.parametrize(
    ("rows", "texts", "lines"),
    [
        ('2,"two\n3,three\n4,"four"\n5,five\n', ["one", "five"], "3, 4, 5"),
        ('2,"two\n3,three\n4,four\n5,five\n', ["one"], "3, 4, 5, 6"),
    ],
)
def test_rows_that_a_stray_quote_swallows_are_all_counted(
    rows: str, texts: list[str], lines: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,text\n1,one\n{rows}")
    with pytest.raises(InputError, match=rf"broken lines \(line {lines};"):
        documents(path)
    counts: Counter[str] = Counter()
    assert documents(path, counts=counts, on_error="skip") == texts
    assert counts["broken_records"] == len(lines.split(","))


def test_what_only_the_standard_library_parses_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half \\ud83d pair", "score": NaN}\n{"text": null}\n{"text": "b"}\n')
    assert documents(path) == ["half \ufffd pair", "b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: str(p / "missing.txt"), "No file or folder"),
        (lambda p: (p / "empty.txt").touch() or str(p / "empty.txt"), r"empty\.txt' is empty"),
        (lambda p: (p / "d").mkdir() or str(p / "d"), "has no readable file"),
        (lambda p: str(p / "*.csv"), "No readable file matches"),
        (lambda p: (p / "a.json").write_text("{}") and str(p / "a.json"), r"\.json is not read"),
    ],
)
def test_what_is_not_there_is_said(make, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        find_sources([make(tmp_path)])


def test_a_file_whose_name_is_not_utf8_is_told_in_one_line(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt")
    try:
        with open(path, "wb") as file:
            file.write(b"text")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    for given in (str(tmp_path), os.fsdecode(path)):
        with pytest.raises(InputError, match=r"caf\\udce9\.txt' is not UTF-8") as error:
            find_sources([given])
        assert "\n" not in str(error.value) and str(error.value).isascii()


def test_a_misspelt_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "shakespeare.txt").write_text("x")
    with pytest.raises(InputError, match=r"Did you mean 'shakespeare\.txt'"):
        find_sources([str(tmp_path / "shakespare.txt")])
