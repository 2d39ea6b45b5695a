"""Web archives: the same pages as fastwarc finds, and all up to where an archive breaks."""

import gzip
import io
import zlib
from pathlib import Path

import pytest
import zstandard
from made_reading import read

from xunlian.corpus.reading.trouble import Limits
from xunlian.errors import InputError

PAGE = "<html><body><p>Grüße, 世界</p></body></html>"


def record(
    body: bytes, kind: str = "response", url: str = "http://a.org/", content: str = ""
) -> bytes:
    content = content or "application/http; msgtype=response"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:1>\r\n"
        f"Content-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def answer(
    body: bytes, kind: str = "text/html; charset=utf-8", more: str = "", status: int = 200
) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + body


def chunked(data: bytes, size: int = 7) -> bytes:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def write(path: Path, records: list[bytes]) -> Path:
    if path.suffix == ".gz":
        records = [gzip.compress(r) for r in records]
    elif path.suffix == ".zst":
        records = [zstandard.compress(r) for r in records]
    path.write_bytes(b"".join(records))
    return path


RECORDS = [
    record(b"software: x\r\n", "warcinfo", content="application/warc-fields"),
    record(b"GET / HTTP/1.1\r\n\r\n", "request", content="application/http; msgtype=request"),
    record(answer(PAGE.encode()), url="http://a.org/plain"),
    record(answer(chunked(PAGE.encode()), more="Transfer-Encoding: chunked\r\n")),
    record(answer(gzip.compress(PAGE.encode()), more="Content-Encoding: gzip\r\n")),
    record(answer(zlib.compress(PAGE.encode()), more="Content-Encoding: deflate\r\n")),
    record(
        answer(
            chunked(gzip.compress(PAGE.encode()), 50),
            more="Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n",
        )
    ),
    record(answer(b"plain text", "text/plain")),
    record(answer(b"\x89PNG", "image/png")),
    record(answer(b"<p>gone</p>", status=404)),
    record("converted 文".encode(), "conversion", content="text/plain"),
    record(b"<p>a resource</p>", "resource", content="text/html"),
]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst"])
def test_pages_and_texts_come_out_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, RECORDS)
    found = read(path)
    assert found.texts == [PAGE] * 5 + ["plain text", "converted 文", "<p>a resource</p>"]
    assert found.kinds == ["html"] * 5 + ["text", "text", "html"]
    assert found.ids[0] == f"{path}#0 http://a.org/plain"
    assert found.counts["other_records"] == 4 and not found.aside


def test_the_pages_are_those_that_fastwarc_finds(tmp_path: Path) -> None:
    warc = pytest.importorskip("fastwarc.warc")
    expected = []
    for data in RECORDS:  # one by one: after a chunked and packed answer it ends (version 2.0.1)
        for one in warc.ArchiveIterator(
            io.BytesIO(data), record_types=warc.WarcRecordType.response, auto_decode="all"
        ):
            if one.http_headers.status_code == 200 and one.http_content_type.startswith("text/"):
                expected.append(one.reader.read().decode())
    found = read(write(tmp_path / "a.warc", RECORDS))
    assert [*expected, "converted 文", "<p>a resource</p>"] == found.texts


def test_the_header_of_an_encoding_that_was_taken_off_does_no_harm(tmp_path: Path) -> None:
    more = "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
    assert read(write(tmp_path / "a.warc", [record(answer(PAGE.encode(), more=more))])).texts == [
        PAGE
    ]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [(PAGE.encode(), ["html"]), (b"plain text", ["text"]), (b"\x89PNG\r\n\0", [])],
)
def test_what_comes_without_a_type_is_known_by_its_content(
    body: bytes, kinds: list[str], tmp_path: Path
) -> None:
    untyped = record(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + body)
    found = read(write(tmp_path / "a.warc", [untyped]))
    assert found.kinds == kinds and found.counts["other_records"] == 1 - len(kinds)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("text/html; charset=gb2312", "gb18030"),
        ("text/html; charset='Big5'", "big5"),
        ("text/html; charset=iso-8859-1", "cp1252"),
        ("text/html; charset=nonsense", "utf-8"),
        ("text/html", "utf-8"),
    ],
)
def test_a_page_is_decoded_as_a_browser_would(declared: str, encoding: str, tmp_path: Path) -> None:
    text = "“Déjà”" if encoding == "cp1252" else "<p>中文網頁的內容，在這裡。</p>"
    found = read(write(tmp_path / "a.warc", [record(answer(text.encode(encoding), declared))]))
    assert found.texts == [text]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_an_archive_cut_in_the_middle_keeps_what_came_before(name: str, tmp_path: Path) -> None:
    records = [record(answer(f"<p>page {i}</p>".encode() * 50)) for i in range(10)]
    data = write(tmp_path / name, records).read_bytes()
    for cut in (0.05, 0.33, 0.55, 0.77):
        (tmp_path / name).write_bytes(data[: int(len(data) * cut)])
        with pytest.raises(InputError, match=rf"{name}' is (damaged or )?cut short"):
            read(tmp_path / name)
        found = read(tmp_path / name, on_error="skip")
        assert found.texts == [f"<p>page {i}</p>" * 50 for i in range(int(10 * cut))]
        assert found.counts["broken_files"] == 1 and len(found.aside) == 1


def test_a_broken_record_is_set_aside_and_the_next_one_found(tmp_path: Path) -> None:
    good = record(answer(PAGE.encode()))
    packed = gzip.compress(PAGE.encode() * 100)[:-30]
    bad = [
        record(answer(packed, more="Content-Encoding: gzip\r\n"), url="http://a.org/cut"),
        record(answer(b"x", more="Content-Encoding: sdch\r\n")),
        record(answer(b"a" * 2000)),
        good.replace(b"Content-Length: ", b"Content-Lengthy: "),
        b"rubbish\r\nrubbish\r\n",
    ]
    path = write(tmp_path / "a.warc", [good, *[r for one in bad for r in (one, good)]])
    found = read(path, on_error="skip", limits=Limits(page=1000))
    assert found.texts == [PAGE] * 6 and found.counts["broken_records"] == 5
    assert "http://a.org/cut" in found.aside[0][1] and "does not unpack" in found.aside[0][2]
    with pytest.raises(InputError, match=r"a\.warc', record 2 .*does not unpack.*--on-error skip"):
        read(path)


def test_a_page_that_unpacks_to_a_bomb_is_set_aside(tmp_path: Path) -> None:
    bomb = answer(gzip.compress(b"a" * 30_000_000), more="Content-Encoding: gzip\r\n")
    path = write(tmp_path / "a.warc.gz", [record(bomb), record(answer(PAGE.encode()))])
    found = read(path, on_error="skip")
    assert found.texts == [PAGE] and found.counts["broken_records"] == 1


def test_a_file_that_is_no_web_archive_is_said_to_be_none(tmp_path: Path) -> None:
    for data in (b"no web archive\n" * 10, b"\xff" * 100):
        (tmp_path / "a.warc").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.warc' is no web archive"):
            read(tmp_path / "a.warc")
