"""Reading speed, on one core: megabytes of text a second out of each kind of file.

    python benchmarks/reading.py [--megabytes 20] [--data ../shared/data] [--only jsonl.gz ...]

Writes the texts in --data (else the shipped samples) as files of each kind, and reads each three
times: with `read_part`, and with the obvious loop over a library beside it (`gzip` and `json`,
fastwarc, pyarrow, ...), which does none of the checks. The best time counts. Peers run in the same
process, one after the other. A line for each is appended to benchmarks/results/reading.jsonl.
"""

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard
from records import record

from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.parts import Part
from xunlian.corpus.reading.readers import read_part
from xunlian.corpus.reading.sources import find_sources
from xunlian.recipe.settings import Corpus

ROOT = Path(__file__).resolve().parents[1]
TIMES = 3


def documents(data: Path, size: int) -> list[str]:
    """English and Chinese documents of a few kilobytes, `size` bytes of them."""
    paths = [p for k in ("lm_en/enwiki2015", "lm_zh/zhwiki2023") for p in data.glob(f"{k}/*.gz")]
    texts = [gzip.decompress(p.read_bytes()).decode() for p in sorted(paths)]
    texts = texts or [p.read_text("utf-8") for p in sorted((ROOT / "samples").glob("*.txt"))]
    found, total = [], 0
    while total < size:
        for text in texts:
            for first in range(0, len(text), 3000):
                found.append(text[first : first + 3000])
                total += len(found[-1].encode())
            if total >= size:
                break
    return found


def jsonl(texts: list[str]) -> bytes:
    lines = (json.dumps({"id": i, "text": t}, ensure_ascii=False) for i, t in enumerate(texts))
    return "\n".join(lines).encode()


def warc(texts: list[str]) -> bytes:
    """Each record in a gzip member, as crawlers write it."""
    members = []
    for i, text in enumerate(texts):
        page = f"<html><body><p>{text}</p></body></html>".encode()
        body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/{i}\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(body)}\r\n"
        )
        members.append(gzip.compress(head.encode() + b"\r\n" + body + b"\r\n\r\n"))
    return b"".join(members)


def parquet(texts: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink, row_group_size=2000)
    return sink.getvalue()


KINDS: dict[str, Callable[[list[str]], bytes]] = {
    "jsonl.gz": lambda texts: gzip.compress(jsonl(texts), 6),
    "jsonl.zst": lambda texts: zstandard.compress(jsonl(texts)),
    "jsonl": jsonl,
    "txt": lambda texts: "\n".join(t.replace("\n", " ") for t in texts).encode(),
    "parquet": parquet,
    "warc.gz": warc,
}


def obvious(path: Path, kind: str) -> Iterator[str]:
    """The shortest way over a library."""
    if kind == "jsonl.gz":
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]
    elif kind == "jsonl.zst":
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]
    elif kind in ("jsonl", "txt"):
        with open(path, encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield json.loads(line)["text"] if kind == "jsonl" else line.rstrip("\n")
    elif kind == "parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(columns=["text"], use_threads=False):
            yield from batch.column(0).to_pylist()
    else:
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        with open(path, "rb") as file:
            for one in ArchiveIterator(file, record_types=WarcRecordType.response):
                yield one.reader.read().decode("utf-8", "replace")


def ours(path: Path, part_bytes: int = 0) -> Iterator[str]:
    (source,) = find_sources([str(path)])
    settings = Corpus(documents="line")
    parts = split_into_parts(source, settings, part_bytes) if part_bytes else [Part(source)]
    for part in parts:
        for passage in read_part(part, settings, Counter()):
            yield passage.text


def best(read: Callable[[], Iterator[str]]) -> tuple[float, int]:
    """(seconds, bytes of text)."""
    seconds, size = float("inf"), 0
    for _ in range(TIMES):
        begin = time.perf_counter()
        count = sum(len(text) if text.isascii() else len(text.encode()) for text in read())
        seconds, size = min(seconds, time.perf_counter() - begin), count
    return seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="*", default=list(KINDS))
    arguments = parser.parse_args()
    texts = documents(arguments.data, arguments.megabytes * 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.only:
            path = Path(folder) / f"a.{kind}"
            path.write_bytes(KINDS[kind](texts))
            row: dict[str, object] = {"kind": kind, "file_bytes": path.stat().st_size}
            for name, read in (
                ("obvious", lambda p=path, k=kind: obvious(p, k)),
                ("xunlian", lambda p=path: ours(p)),
                ("in_parts", lambda p=path: ours(p, 4_000_000)),
            ):
                seconds, size = best(read)
                row[name] = round(size / 1e6 / seconds, 1)
                row["text_bytes"] = size
            print(kind, row, file=sys.stderr)
            record("reading", row)


if __name__ == "__main__":
    main()
