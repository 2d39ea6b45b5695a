"""URLs are files like others; without fsspec they are refused with the mend."""

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_reading import read

from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.sources import find_sources
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as Settings


@pytest.fixture
def bucket() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe(
        {
            "/bucket/a.txt": "第一\n第二\n".encode(),
            "/bucket/deep/b.jsonl.gz": gzip.compress(b'{"text": "three"}\n'),
            "/bucket/picture.png": b"\x89PNG",
            "/bucket/.hidden.txt": b"no",
        }
    )
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def test_folders_globs_and_files_behind_urls_are_read(bucket: str) -> None:
    assert read(bucket).texts == ["第一\n第二\n", "three"]
    assert read(f"{bucket}/*.txt").texts == ["第一\n第二\n"]
    assert read(f"{bucket}/deep/b.jsonl.gz", bucket).texts == ["three", "第一\n第二\n"]
    sizes = [source.size for source in find_sources([f"{bucket}/a.txt"])]
    assert sizes == [len("第一\n第二\n".encode())]


def test_a_file_behind_a_url_is_read_in_parts(bucket: str) -> None:
    (source,) = find_sources([f"{bucket}/a.txt"])
    settings = Settings(documents="line")
    assert len(split_into_parts(source, settings, 3)) == 2
    assert read(f"{bucket}/a.txt", part_bytes=3, documents="line").texts == ["第一", "第二"]


def test_a_parquet_behind_a_url_is_read(bucket: str) -> None:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fsspec.open(f"{bucket}/t.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["one", "two"]}), file)
    assert read(f"{bucket}/t.parquet").texts == ["one", "two"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/missing.txt", "Nothing is at"),
        ("memory://bucket/*.csv", "No readable file at"),
        ("nonsense://a/b.txt", r"nonsense://a/b\.txt' cannot be read"),
        ("reference://a.txt::refs.json", "reference:// is not read"),
        ("zip://a.txt::reference://b::refs.json", "reference:// is not read"),
    ],
)
def test_a_url_that_leads_nowhere_is_said(url: str, message: str, bucket: str) -> None:
    with pytest.raises(InputError, match=message):
        read(url)


def test_a_file_that_vanished_from_a_server_is_set_aside(bucket: str) -> None:
    import fsspec
    from made_reading import Read

    from xunlian.corpus.reading.parts import Part
    from xunlian.corpus.reading.trouble import LIMITS
    from xunlian.recipe.corpus_reading import Reading

    (source,) = find_sources([f"{bucket}/a.txt"])
    fsspec.filesystem("memory").pipe("/bucket/a.txt", b"other")
    found = Read()
    found.part(Part(source, stamp=(1, "")), Settings(on_error="skip"), LIMITS, Reading())
    fsspec.filesystem("memory").rm("/bucket/a.txt")
    found.part(Part(source), Settings(on_error="skip"), LIMITS, Reading())
    assert found.counts["broken_files"] == 2 and "changed" in found.aside[0][2]


def test_without_fsspec_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r'pip install "xunlian\[remote\]"'):
        read("s3://bucket/a.txt")
