"""MB a second of the whole way from .jsonl.gz to shards on one core: English and Chinese.

    python benchmarks/corpus_line.py --english FILE ... --chinese FILE ...

The files are texts (.txt, .jsonl, compressed or not); they are written anew as one .jsonl.gz each,
of at most --megabytes of text. The stages are clean, quality, privacy and exact copies; the
tokenizer is learned before, from the same text, and its time does not count. Speed is of the UTF-8
bytes read, by the time that the core spends on it, so that other work on the machine counts little.
Each row is appended to results/corpus_line.jsonl.
"""

import argparse
import gzip
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson
from records import record

import xunlian
from xunlian.corpus.reading.readers import read_documents
from xunlian.corpus.reading.sources import find_sources
from xunlian.recipe.settings import Corpus

STAGES = ("clean", "quality", "privacy")
SETTINGS = [f"corpus.{stage}=true" for stage in STAGES] + ["corpus.deduplicate.similarity=1"]


def gather(names: list[str], documents: str, megabytes: float, out: Path) -> int:
    """Write the documents of the files into one .jsonl.gz; their bytes."""
    corpus = Corpus(sources=tuple(names), documents=documents)  # type: ignore[arg-type]
    size = 0
    with gzip.open(out, "wb", 6) as file:
        for piece in read_documents(find_sources(names), corpus, Counter(), lambda _: None):
            file.write(orjson.dumps({"text": piece.text}) + b"\n")
            size += len(piece.text.encode())
            if size >= megabytes * 1e6:
                break
    return size


def measure(language: str, names: list[str], documents: str, megabytes: float) -> None:
    with tempfile.TemporaryDirectory(prefix="corpus-line-") as folder:
        text = Path(folder) / "text.jsonl.gz"
        size = gather(names, documents, megabytes, text)
        first = xunlian.prepare(text, out=Path(folder) / "first", val=0, vocab_size=8192, workers=1)
        begin, begin_on_core = time.perf_counter(), time.process_time()
        corpus = xunlian.prepare(
            text,
            out=Path(folder) / "out",
            val=0,
            tokenizer=first.path,
            workers=1,
            overrides=SETTINGS,
        )
        seconds = time.perf_counter() - begin
        core_seconds = time.process_time() - begin_on_core
        row = {
            "language": language,
            "megabytes": round(size / 1e6, 2),
            "seconds": round(seconds, 2),
            "core_seconds": round(core_seconds, 2),
            "megabytes_per_core_second": round(size / 1e6 / core_seconds, 3),
            "documents": corpus.card["stages"]["read"]["left"],
            "kept": corpus.card["stages"]["duplicates"]["left"],
            "tokens": corpus.tokens("train"),
        }
    print(row, flush=True)
    record("corpus_line", row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--english", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--chinese", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--documents", default="wiki", help="what a document is in a text file")
    parser.add_argument("--megabytes", type=float, default=20)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the tokenizer has threads
    for language in ("english", "chinese"):
        if names := getattr(options, language):
            measure(language, names, options.documents, options.megabytes)


if __name__ == "__main__":
    main()
