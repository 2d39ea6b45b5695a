"""What is in archives is read, member by member; what was made to do harm is left out."""

import gzip
import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from made_reading import read

from xunlian.corpus.reading.trouble import Limits
from xunlian.errors import InputError


def parquet(*texts: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": list(texts)}), sink)
    return sink.getvalue().to_pybytes()


MEMBERS = {
    "one.txt": "第一篇".encode(),
    "folder/two.jsonl.gz": gzip.compress(b'{"text": "two"}\n{"text": "three"}\n'),
    "folder/picture.png": b"\x89PNG\0",
    "four.parquet": parquet("four"),
    "five.md.zst": zstandard.compress(b"five"),
    ".hidden.txt": b"no",
    "__MACOSX/one.txt": b"no",
}
TEXTS = ["第一篇", "two", "three", "four", "five"]


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("folder")
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as file:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(data, tarfile.TarInfo) else data
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    data = sink.getvalue()
    if path.suffix in (".gz", ".tgz"):
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"])
def test_members_are_read_in_their_order_by_their_endings(name: str, tmp_path: Path) -> None:
    make = make_zip if name.endswith("zip") else make_tar
    path = make(tmp_path / name, MEMBERS)
    before = set(tmp_path.iterdir())
    found = read(path)
    assert found.texts == TEXTS
    assert found.ids[2] == f"{path}/folder/two.jsonl.gz#1"
    assert found.counts["other_members"] == 3
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("outer", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("inner", ["b.zip", "b.tar.gz"])
def test_an_archive_in_an_archive_is_read_but_not_one_in_that(
    outer: str, inner: str, tmp_path: Path
) -> None:
    def make(path: Path, members: dict[str, bytes]) -> Path:
        return (make_zip if path.suffix == ".zip" else make_tar)(path, members)

    deepest = make(tmp_path / inner, {"x.txt": b"deepest"}).read_bytes()
    middle = make(tmp_path / inner, {"m.txt": b"middle", inner: deepest}).read_bytes()
    path = make(tmp_path / outer, {inner: middle, "o.txt": b"outer"})
    with pytest.raises(InputError, match="an archive within an archive within an archive"):
        read(path)
    found = read(path, on_error="skip")
    assert found.texts == ["middle", "outer"]
    assert [name for name, *_ in found.aside] == [f"{path}/{inner}/{inner}"]


@pytest.mark.parametrize("bad", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_out_is_set_aside(kind: str, bad: str, tmp_path: Path) -> None:
    make = make_zip if kind == "zip" else make_tar
    path = make(tmp_path / f"a.{kind}", {bad: b"bad", "good.txt": b"good"})
    with pytest.raises(InputError, match=r"leads out of the archive.*--on-error skip"):
        read(path)
    found = read(path, on_error="skip")
    assert found.texts == ["good"] and found.counts["broken_members"] == 1
    assert found.aside[0][:2] == (str(path), f"member '{bad}'")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_not_followed(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    link = tarfile.TarInfo("link.txt")
    link.type, link.linkname = kind, str(tmp_path / "secret.txt")
    path = make_tar(tmp_path / "a.tar", {"link.txt": link, "good.txt": b"good"})
    found = read(path, on_error="skip")
    assert found.texts == ["good"] and "it is a link" in found.aside[0][2]


def test_names_in_gbk_are_read(tmp_path: Path) -> None:
    name = "中文文件.txt"
    raw = name.encode("gbk")
    stand_in = "x" * len(raw)
    path = make_zip(tmp_path / "a.zip", {stand_in: b"text"})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    assert read(path).ids == [f"{path}/{name}#0"]
    path = make_tar(tmp_path / "a.tar", {stand_in: b"text"})
    data = bytearray(path.read_bytes().replace(stand_in.encode(), raw))
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    path.write_bytes(data)
    assert read(path).ids == [f"{path}/{name}#0"]


def test_an_encrypted_member_is_set_aside(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.txt": b"secret", "b.txt": b"open"})
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(b"a.txt", data.index(mark)) - (30 if at == 6 else 46) + at] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"member 'a\.txt': it is encrypted"):
        read(path)
    assert read(path, on_error="skip").texts == ["open"]


def test_a_damaged_member_does_not_spoil_the_others(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.txt": b"first" * 100, "b.txt": b"second"})
    data = bytearray(path.read_bytes())
    packed = zlib.compress(b"first" * 100, 6)[2:-4]
    data[data.index(packed[:8]) + 3] ^= 0xFF
    path.write_bytes(data)
    found = read(path, on_error="skip")
    assert found.texts[-1] == "second" and found.counts["broken_files"] == 1
    assert found.aside[0][0] == f"{path}/a.txt"


@pytest.mark.parametrize("cut", [600, 1024 + 512 + 100, 2000])
def test_a_tar_that_is_cut_keeps_what_came_before(cut: int, tmp_path: Path) -> None:
    members = {f"{i}.txt": bytes([97 + i]) * 500 for i in range(4)}
    path = make_tar(tmp_path / "a.tar", members)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)
    found = read(path, on_error="skip")
    assert found.texts[: cut // 1024] == ["a" * 500, "b" * 500][: cut // 1024]
    assert found.counts["broken_files"] >= 1


def test_a_broken_header_in_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.txt": b"a", "b.txt": b"b"})
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    found = read(path, on_error="skip")
    assert found.texts == ["a"] and found.counts["broken_files"] == 1


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_an_archive_behind_another_in_one_file_is_read_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    parts = [make_tar(path, {f"{i}.txt": f"text {i}".encode()}).read_bytes() for i in range(3)]
    path.write_bytes(b"".join(parts))
    assert read(path).texts == ["text 0", "text 1", "text 2"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_bomb_in_an_archive_is_stopped(name: str, tmp_path: Path) -> None:
    make = make_zip if name.endswith("zip") else make_tar
    path = make(tmp_path / name, {"a.txt": b"a" * 20_000_000})
    with pytest.raises(InputError, match="zip bomb"):
        read(path, limits=Limits(free=1_000_000))


def test_a_file_of_zeros_that_is_no_file_is_no_text(tmp_path: Path) -> None:
    """A sparse member can say that it has terabytes."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo("sparse.txt")
        info.type = tarfile.GNUTYPE_SPARSE
        file.addfile(info)
    assert read(path).texts == []


def test_a_file_that_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar"):
        (tmp_path / name).write_bytes(b"no archive at all" * 100)
        with pytest.raises(InputError, match=rf"{name}' is damaged"):
            read(tmp_path / name)
