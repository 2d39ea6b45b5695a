"""Peak memory and speed of `xunlian prepare` on a large text file.

    python benchmarks/prepare_memory.py [--megabytes 1000] [--data ../shared/data] [key=value ...]

Writes a text file of that size (the texts in --data, else the shipped samples, again and again)
into a temporary folder, prepares it in a process of its own, and reports the largest sum of the
resident memory (RSS; PSS is smaller, it shares common pages) over that process and its children,
sampled every 50 ms. A line of JSON is appended to benchmarks/results/prepare.jsonl.
"""

import argparse
import datetime
import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def texts(data: Path | None) -> Iterator[bytes]:
    """English and Chinese text, whole files."""
    found = False
    for pattern in ("lm_en/enwiki2015/*.gz", "lm_zh/zhwiki2023/*.gz", "lm_zh/novels/*.gz"):
        for path in sorted(data.glob(pattern)) if data else ():
            found = True
            yield gzip.decompress(path.read_bytes())
    if not found:
        for path in sorted((ROOT / "samples").glob("*.txt")):
            yield path.read_bytes()


def write_text(path: Path, size: int, data: Path | None) -> None:
    with open(path, "wb") as file:
        while file.tell() < size:
            for text in texts(data):
                file.write(text)
                if file.tell() >= size:
                    break


def memory_of_tree(pid: int) -> int:
    """Bytes resident in a process and all its descendants (Linux)."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prepare-memory-"))
    try:
        write_text(folder / "big.txt", options.megabytes * 10**6, options.data)
        code = (
            "import sys, xunlian\n"
            "xunlian.prepare(sys.argv[1], out=sys.argv[2], workers=int(sys.argv[3]),"
            " overrides=sys.argv[4:])"
        )
        arguments = [str(folder / "big.txt"), str(folder / "corpus"), str(options.workers)]
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", code, *arguments, *options.overrides])
        peak, peak_at = 0, 0.0
        while process.poll() is None:
            now = memory_of_tree(process.pid)
            if now > peak:
                peak, peak_at = now, time.perf_counter() - begin
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(process.returncode)
        card = json.loads((folder / "corpus" / "corpus.json").read_text())
    finally:
        shutil.rmtree(folder)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {n: version(n) for n in ("xunlian", "tokenizers", "numpy", "pyarrow")}
        | {"python": platform.python_version()},
        "overrides": options.overrides,
        "workers": options.workers,
        "megabytes": options.megabytes,
        "peak_rss_megabytes": round(peak / 1e6),
        "peak_at_seconds": round(peak_at, 1),
        "seconds": round(seconds, 1),
        "megabytes_per_second": round(options.megabytes / seconds, 2),
        "tokens": sum(split["tokens"] for split in card["splits"].values()),
        "vocab_size": card["tokenizer"]["vocab_size"],
    }
    print(json.dumps(result, indent=2))
    results = ROOT / "benchmarks" / "results" / "prepare.jsonl"
    results.parent.mkdir(exist_ok=True)
    with open(results, "a") as file:
        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
