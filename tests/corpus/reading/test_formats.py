"""The formats beside text, JSON lines, CSV and Parquet; and what is set aside of a broken one."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_reading import read

from xunlian.corpus.reading.markdown import plain, without_front_matter
from xunlian.corpus.reading.readers import read_documents
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.reading.trouble import Limits
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as Settings

TEXTS = ["First document.", "第二篇：明月几时有。", "third"]


def test_a_column_of_a_tsv_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("id\ttext\n" + "".join(f"{i}\t{t}\n" for i, t in enumerate(TEXTS)))
    assert read(path).texts == TEXTS
    assert read(path, text_field="2").texts == ["text", *TEXTS]
    path.write_text("\n".join(TEXTS))
    assert read(path).texts == TEXTS
    path.write_text("a\tb\nc\td\n")
    with pytest.raises(InputError, match=r"no field 'text'.*It has: a, b.*corpus\.text_field"):
        read(path)


@pytest.mark.parametrize("form", ["file", "stream", "feather"])
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_arrow_is_read_as_file_and_as_stream(form: str, kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([*TEXTS, None]).cast(kind), "n": [1, 2, 3, 4]})
    path = tmp_path / ("a.feather" if form == "feather" else "a.arrow")
    if form == "feather":
        import pyarrow.feather as feather

        feather.write_feather(table, path)
    else:
        new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with new(path, table.schema) as file:
            file.write_table(table, max_chunksize=2)
    found = read(path)
    assert found.texts == TEXTS and found.advanced == path.stat().st_size
    with pytest.raises(InputError, match="column 'n' holds int64"):
        read(path, text_field="n")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged or no Arrow file"):
        read(path)


def test_front_matter_is_left_out_of_markdown(tmp_path: Path) -> None:
    body = "# Title\n\nText with **strong** words.\n\n---\n\nmore\n"
    for front in ("---\ntitle: x\ntags: [a]\n---\n", "+++\ntitle = 'x'\n+++\n\n", ""):
        path = tmp_path / "a.md"
        path.write_text(front + body)
        assert read(path).texts == [body]
    assert without_front_matter("---\n\nA rule first.\n\n---\n") == "---\n\nA rule first.\n\n---\n"
    assert without_front_matter("---\nno end") == "---\nno end"


def test_markdown_can_be_made_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "# 标题 Title\n\n> quoted *soft* and **loud** `code`\n\n"
        "[link](http://a.b/c_d) ![pic](p.png)\n"
        "```python\nx = a * b * c\nsnake_case_name\n```\n- item\n* * *\n"
    )
    assert read(path, markdown="plain").texts == [
        "标题 Title\n\nquoted soft and loud code\n\nlink pic\nx = a * b * c\n"
        "snake_case_name\n- item\n"
        "* * *\n"
    ]


@pytest.mark.parametrize("mark", ["*", "**", "[", "`", "> ", "![", "_"])
def test_hostile_markdown_takes_linear_time(mark: str) -> None:
    started = time.process_time()
    plain((mark + "a") * 50_000)
    assert time.process_time() - started < 2


def test_a_page_is_given_as_it_is(tmp_path: Path) -> None:
    page = "<html><body><p>Hello 世界</p></body></html>"
    for name in ("a.html", "b.htm", "c.xhtml"):
        (tmp_path / name).write_text(page)
    found = read(tmp_path)
    assert found.texts == [page] * 3 and set(found.kinds) == {"html"}
    with pytest.raises(InputError, match=r"a\.html' is a web page"):
        list(
            read_documents(find_sources([str(tmp_path)]), Settings(), found.counts, lambda _: None)
        )


def test_a_page_without_end_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>" * 10_000)
    (tmp_path / "b.html").write_text("<p>good")
    with pytest.raises(InputError, match=r"a\.html' has more than 1,000 bytes"):
        read(tmp_path, limits=Limits(page=1000))
    assert read(tmp_path, limits=Limits(page=1000), on_error="skip").texts == ["<p>good"]


def test_the_text_of_a_pdf_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    content = b"BT /F1 12 Tf 72 720 Td (Hello from a page) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer << /Size 6 /Root 1 0 R >>\n"
    data += b"startxref\n%d\n%%%%EOF" % data.rindex(b"xref\n0")
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    assert read(path).texts == ["Hello from a page"]
    path.write_bytes(data[:100])
    with pytest.raises(InputError, match=r"a\.pdf' is damaged or no PDF"):
        read(path)


def test_a_pdf_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(InputError, match=r'pip install "xunlian\[web\]"'):
        read(tmp_path, on_error="skip")


class Pages:
    """Stands in for pypdf: pages with a text each, or one that never ends."""

    is_encrypted = False

    def __init__(self, file) -> None:
        self.pages = [self] * int(file.read())

    def extract_text(self) -> str:
        while len(self.pages) == 1:
            try:
                while True:
                    pass
            except Exception:  # as pypdf has it in many places
                pass
        return "text"


def test_a_pdf_has_limits_of_pages_text_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xunlian.corpus.reading.pdf.SECONDS", 0.3)
    monkeypatch.setitem(sys.modules, "pypdf", SimpleNamespace(PdfReader=Pages))
    path = tmp_path / "a.pdf"
    path.write_text("3")
    assert read(path).texts == ["text\n\ntext\n\ntext"]
    with pytest.raises(InputError, match=r"has 3 pages, more than 2\. Leave it out"):
        read(path, limits=Limits(pages=2))
    with pytest.raises(InputError, match="more than 10 characters"):
        read(path, limits=Limits(record=10))
    with pytest.raises(InputError, match="has 1 bytes, more than 0"):
        read(path, limits=Limits(whole=0))
    monkeypatch.setattr("xunlian.corpus.reading.pdf._BEGIN", -1.0)
    with pytest.raises(InputError, match="takes too long"):
        read(path)
    path.write_text("1")
    with pytest.raises(InputError, match="a page that takes more than"):
        read(path)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_line_without_end_is_skipped_without_being_held(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    row = (lambda t: json.dumps({"text": t})) if kind == "jsonl" else (lambda t: f"1{sep}{t}")
    sep = "," if kind == "csv" else "\t"
    head = [] if kind == "jsonl" else [f"n{sep}text"]
    texts = ["before", "x" * 5_000_000, "after", "y" * 3_000_000]
    path.write_text("\n".join([*head, *map(row, texts)]))
    limits = Limits(record=100_000)
    found = read(path, limits=limits, on_error="skip")
    assert found.texts == ["before", "after"]
    assert found.counts["broken_records"] == 2 and len(found.aside) == 2
    assert "longer than 100,000" in found.aside[0][2]
    with pytest.raises(InputError, match="has 2 broken lines"):
        read(path, limits=limits)


@pytest.mark.slow
def test_a_line_of_a_gigabyte_costs_no_memory(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text": "')
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text": "after"}\n')
    code = (
        "from made_reading import read; from xunlian.machine.features import resident_memory;"
        f"print(read({str(path)!r}, on_error='skip').texts, resident_memory()[1] // 2**20)"
    )
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    texts, megabytes = done.stdout.rsplit(maxsplit=1)
    assert texts == "['after']" and int(megabytes) < 600


def test_wrong_bytes_in_good_text_are_replaced_and_counted_with_skip(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(
        "Grüße, 世界\n".encode() * 100 + b"bad \xff\xfe end\n" + "世界\ufffd\n".encode()
    )
    with pytest.raises(InputError, match=r"a\.txt'.*byte 1,604"):
        read(path, encoding="utf-8")
    found = read(path, on_error="skip")
    assert found.texts == ["Grüße, 世界\n" * 100 + "bad \ufffd\ufffd end\n世界\ufffd\n"]
    assert found.counts["replaced_characters"] == 2 and not found.counts["broken_files"]
    assert found.aside == [(str(path), "byte 1,604", "2 wrong bytes from here on became U+FFFD")]


def test_a_text_in_another_encoding_is_set_aside_not_garbled(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Les élèves français étaient âgés.\n".encode("latin-1") * 100)
    (tmp_path / "b.txt").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "c.txt").write_text("good")
    found = read(tmp_path, on_error="skip")
    assert found.texts == ["good"] and found.counts["broken_files"] == 2
    found = read(tmp_path / "a.txt", on_error="skip", encoding="utf-8")
    assert found.texts == [] and "is not utf-8" in found.aside[0][2]


def test_a_wrong_byte_in_json_lines_breaks_its_line_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"文{i}"}, ensure_ascii=False).encode() for i in range(20)]
    lines[3] = lines[3].replace("文".encode(), b"\xff")
    path.write_bytes(b"\n".join(lines))
    found = read(path, on_error="skip")
    assert found.texts == [f"文{i}" for i in range(20) if i != 3]
    assert found.aside[0][1] == "line 4"


def test_a_table_without_the_column_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["good"]}), tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    found = read(tmp_path, on_error="skip")
    assert found.texts == ["good"] and found.counts["broken_files"] == 3
    assert "no field 'text'" in found.aside[0][2] and "holds int64" in found.aside[1][2]


def test_a_wrong_setting_is_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="is no encoding"):
        read(tmp_path, on_error="skip", encoding="utf-99")
