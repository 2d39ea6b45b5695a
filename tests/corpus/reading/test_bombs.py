"""Small files that hold gigabytes, whatever the format: nothing of them stays."""

import gzip
import io
import os
import struct
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_reading import read

from xunlian.corpus import read_tasks
from xunlian.corpus.columns import read_columns
from xunlian.corpus.read_tasks import MOST_REFUSED, read_part_into_chunks
from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.parquet import read_parquet, read_records
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.reading.trouble import Limits, Unsound, ignore
from xunlian.errors import InputError
from xunlian.files import read_json
from xunlian.recipe.settings import Corpus as Settings

LIMITS = Limits(free=1_000_000)
HUGE = "m" * 500_000


def table(path: Path, column: pa.Array | pa.ChunkedArray, **options: object) -> Path:
    made = pa.table({"text": column})
    if path.suffix == ".arrow":
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(path, made.schema, options=packed) as file:
            file.write_table(made)
    else:
        pq.write_table(made, path, store_schema=False, compression="zstd", **options)
    return path


def one_value(rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([HUGE]))


def same_view(rows: int) -> pa.Array:
    """Rows that are all the same bytes (https://arrow.apache.org/docs/format/Columnar.html)."""
    view = struct.pack("<i4sii", len(HUGE), HUGE[:4].encode(), 0, 0)
    buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(HUGE.encode())]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


@pytest.mark.parametrize("name", ["dictionary", "pages", "nulls"])
def test_a_parquet_bomb_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    match name:
        case "dictionary":  # 50 GB by 100,000 rows that name one value
            table(path, one_value(100_000), dictionary_pagesize_limit=1 << 30)
        case "pages":
            table(path, pa.array([HUGE] * 4), use_dictionary=False)
        case _:
            table(path, pa.nulls(3_000_000, pa.string()))
    assert path.stat().st_size < 10_000
    with pytest.raises(Unsound, match=r"a\.parquet' unpacks to more than 200 times"):
        read(path, limits=LIMITS)


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(3_000_000, pa.string()),  # by what the file says of itself, before the first row
        one_value(1000),  # by the first batch, whose rows all name one value
    ],
    ids=["nulls", "dictionary"],
)
def test_no_record_of_a_parquet_bomb_is_given(column, tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", column, dictionary_pagesize_limit=1 << 30)
    with path.open("rb") as file:
        records = read_records(file, "a.parquet", ignore, limits=LIMITS)
        with pytest.raises(Unsound, match=r"a\.parquet' unpacks to more than 200 times"):
            next(records)


@pytest.mark.parametrize("column", [one_value, same_view])
def test_an_arrow_bomb_is_refused_before_it_fills_memory(column, tmp_path: Path) -> None:
    path = table(tmp_path / "a.arrow", column(100_000))
    with pytest.raises(Unsound, match=r"a\.arrow' unpacks to more than 200 times"):
        read(path, limits=LIMITS)


def test_a_batch_has_few_rows_where_the_dictionary_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [chr(97 + i) * 100_000 for i in range(10)]
    texts = [values[i % 10] for i in range(600)]
    path = table(tmp_path / "a.parquet", pa.array(texts), dictionary_pagesize_limit=1 << 24)
    sizes: list[int] = []
    iter_batches = pq.ParquetFile.iter_batches

    def watch(self, batch_size, **options):
        sizes.append(batch_size)
        return iter_batches(self, batch_size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watch)
    assert read(path).texts == texts
    # The dictionary has 1,000,040 bytes: each value with its length.
    assert sizes == [min(256, (1 << 28) // 1_000_040)]
    monkeypatch.setattr("xunlian.corpus.reading.parquet._BATCH", 5_000_000)
    assert read(path).texts == texts and sizes[1] == 4
    with open(path, "rb") as file, pytest.raises(InputError, match="a dictionary of 1,000,040"):
        list(read_parquet(file, "a", {"text_field": "text"}, print, limits=Limits(whole=1000)))


def test_a_row_that_is_too_long_is_set_aside(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", pa.array(["first", "x" * 2000, "last"]))
    with pytest.raises(InputError, match=r"row 2: longer than 1,000 characters.*skip"):
        read(path, limits=Limits(record=1000))
    found = read(path, limits=Limits(record=1000), on_error="skip")
    assert found.texts == ["first", "last"] and found.counts["broken_records"] == 1


def zipped(members: dict[str, str]) -> bytearray:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return bytearray(sink.getvalue())


@pytest.mark.parametrize("declared", [10, 2_000_000])
def test_a_member_that_declares_a_wrong_size_is_set_aside(declared: int, tmp_path: Path) -> None:
    data = zipped({"a.txt": "text " * 1000, "b.txt": "fine"})
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        begin = data.index(mark) + at
        data[begin : begin + 4] = struct.pack("<I", declared)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|zip bomb"):
        read(tmp_path / "a.zip", limits=LIMITS)
    found = read(tmp_path / "a.zip", limits=LIMITS, on_error="skip")
    assert found.texts[-1] == "fine" and len(found.aside) == 1


def test_what_an_archive_in_an_archive_takes_on_the_disk_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b.txt": "inside"}))
    outer = tmp_path / "o.zip"
    with zipfile.ZipFile(outer, "w") as file:
        file.write(tmp_path / "a.zip", "a.zip")
        file.writestr("c.txt", "outside")
    assert read(outer).texts == ["inside", "outside"]
    found = read(outer, limits=Limits(spooled=50), on_error="skip")
    assert found.texts == ["outside"] and "more than 50 bytes unpacked" in found.aside[0][2]


# --- nothing stays ----------------------------------------------------------------------------

LINE = '{"text": "spam spam spam"}\n'
BOMB = gzip.compress((LINE * 100_000).encode())


def read_into_chunks(
    path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, on_error: str = "skip"
) -> tuple[list[str], dict]:
    monkeypatch.setattr(read_tasks, "read_part", partial(read_part, limits=LIMITS))
    corpus = Settings(on_error=on_error)  # type: ignore[arg-type]
    (source,) = find_sources([str(path)])
    (part,) = split_into_parts(source, corpus)
    settings = corpus.model_dump(mode="json")
    read_part_into_chunks(str(work), part.plain(), 0, settings, "key", True, lambda amount: None)
    marker = read_json(work / "read" / "00000.json")
    chunks = sorted((work / "read").glob("*.arrow"))
    assert len(chunks) == marker["chunks"]
    rows = (rows for chunk in chunks for rows in read_columns(work, "read", chunk.stem))
    return [text for batch in rows for text in batch["text"]], marker


def test_nothing_of_a_bomb_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(BOMB)
    monkeypatch.setattr(read_tasks, "CHUNK_CHARACTERS", 100_000)  # chunks of it were written
    texts, marker = read_into_chunks(path, tmp_path / "work", monkeypatch)
    assert texts == [] and marker["changes"] == {"broken_files": 1} and marker["bytes"] == 0
    assert [(name, "zip bomb" in why) for name, _, why in marker["aside"]] == [(str(path), True)]
    with pytest.raises(InputError, match="zip bomb"):
        read_into_chunks(path, tmp_path / "stopped", monkeypatch, "stop")


@pytest.mark.parametrize("bombs", [1, MOST_REFUSED, MOST_REFUSED + 1])
def test_of_an_archive_all_but_the_bombs_stays_if_they_are_few(
    bombs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.txt", "first")
        for n in range(bombs):
            file.writestr(f"{n}.jsonl.gz", BOMB)
        file.writestr("z.txt", "last")
    texts, marker = read_into_chunks(path, tmp_path / "work", monkeypatch)
    if bombs > MOST_REFUSED:
        assert texts == [] and "holds more than 3 files" in marker["aside"][0][2]
    else:
        assert texts == ["first", "last"]
        assert [name for name, *_ in marker["aside"]] == [
            f"{path}/{n}.jsonl.gz" for n in range(bombs)
        ]


def test_nothing_of_a_file_stays_that_changes_or_goes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    harms = (lambda: os.utime(path, (1, 1)), lambda: path.write_text(LINE), path.unlink)
    for number, harm in enumerate(harms):
        path.write_text(LINE * 200_000)
        harmed = Counter[str]()

        def advance(amount: int, harm=harm, harmed=harmed) -> None:
            if not harmed["harm"]:
                harm()
                harmed["harm"] = 1

        corpus = Settings(on_error="skip")
        (source,) = find_sources([str(path)])
        (part,) = split_into_parts(source, corpus)
        settings = corpus.model_dump(mode="json")
        work = tmp_path / str(number)
        read_part_into_chunks(str(work), part.plain(), 0, settings, "key", True, advance)
        marker = read_json(work / "read" / "00000.json")
        assert marker["chunks"] == 0 and marker["changes"] == {"broken_files": 1}
        assert "changed while it was being read" in marker["aside"][0][2]


def test_of_a_cut_file_the_documents_before_stay_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f'{{"text": "document {i}"}}\n' for i in range(50_000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode())[:-50_000])
    texts, marker = read_into_chunks(path, tmp_path / "work", monkeypatch)
    assert len(texts) > 1000 and texts == [f"document {i}" for i in range(len(texts))]
    assert marker["changes"] == {"broken_files": 1, "before_damage": len(texts)}
    assert f"The {len(texts):,} documents before that stay." in marker["aside"][0][2]


def test_a_file_written_anew_with_its_old_time_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    (source,) = find_sources([str(path)])
    before, times = source.stamp(), path.stat()
    while path.stat().st_ctime_ns == times.st_ctime_ns:  # it moves by ticks of some milliseconds
        path.write_text("two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert source.stamp() != before and source.stamp()[0] == before[0]
