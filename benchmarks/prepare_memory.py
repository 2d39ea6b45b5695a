"""Peak memory and speed of `xunlian prepare` on input of any size, with all stages on.

    python benchmarks/prepare_memory.py [--megabytes 10000] [--folder FOLDER] [key=value ...]

Writes JSON lines of that size: documents of 5 to 40 paragraphs drawn by chance from the texts in
--data (else from the shipped samples), English or Chinese; one in thirty is a copy of an earlier
one, one in thirty a copy in which a paragraph differs. Prepares them in a process of its own, with
quality rules, privacy and both kinds of deduplication, and reports the largest sum of the resident
memory (RSS; PSS is smaller, it shares common pages) over that process and its children, sampled
every 50 ms. A line of JSON is appended to benchmarks/results/prepare.jsonl.

With --folder the input and the work stay there when it is stopped, and started again it goes on:
seconds add up, and the peak is the largest of all starts.
"""

import argparse
import datetime
import gzip
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


STAGES = ("corpus.quality=true", "corpus.privacy=true", "corpus.deduplicate=true")


def paragraphs(data: Path | None) -> list[list[str]]:
    """The paragraphs of every text: first those in English, then those in Chinese."""
    english = [*data.glob("lm_en/enwiki2015/*.gz"), *data.glob("lm_en/wiki*/*.gz")] if data else []
    chinese = [*data.glob("lm_zh/zhwiki2023/*.gz"), *data.glob("lm_zh/novels/*.gz")] if data else []
    texts = [
        ["".join(gzip.decompress(path.read_bytes()).decode() for path in sorted(paths))]
        for paths in (english, chinese)
    ]
    if not texts[0][0] or not texts[1][0]:
        texts = [[path.read_text()] for path in sorted((ROOT / "samples").glob("*.txt"))]
    return [[line for line in text.split("\n") if len(line) > 60] for (text,) in texts]


def write_documents(path: Path, size: int, data: Path | None) -> None:
    pools, chance = paragraphs(data), random.Random(1)
    recent: list[list[str]] = []
    with open(path, "wb") as file:
        while file.tell() < size:
            kind = chance.random()
            if recent and kind < 2 / 30:
                lines = list(chance.choice(recent))
                if kind < 1 / 30:
                    lines[chance.randrange(len(lines))] = chance.choice(chance.choice(pools))
            else:
                lines = chance.choices(chance.choice(pools), k=chance.randint(5, 40))
            if len(recent) < 10_000:
                recent.append(lines)
            elif kind > 0.99:
                recent[chance.randrange(10_000)] = lines
            document = {"text": "\n".join(lines)}
            file.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")


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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="prepare-memory-"))
    folder.mkdir(parents=True, exist_ok=True)
    text, so_far = folder / "big.jsonl", folder / "so-far.json"
    if not text.exists():
        write_documents(folder / "part", options.megabytes * 10**6, options.data)
        (folder / "part").rename(text)
    before = json.loads(so_far.read_text()) if so_far.exists() else {"peak": 0, "seconds": 0.0}
    code = (
        "import sys, xunlian\n"
        "xunlian.prepare(sys.argv[1], out=sys.argv[2], workers=int(sys.argv[3]),"
        " overrides=sys.argv[4:])"
    )
    arguments = [str(text), str(folder / "corpus"), str(options.workers), *STAGES]
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments, *options.overrides])
    peak, seconds = before["peak"], 0.0
    try:
        while process.poll() is None:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(0.05)
    finally:
        seconds = before["seconds"] + time.perf_counter() - begin
        so_far.write_text(json.dumps({"peak": peak, "seconds": seconds}))
    if process.returncode:
        raise SystemExit(process.returncode)
    card = json.loads((folder / "corpus" / "corpus.json").read_text())
    shutil.rmtree(folder)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {n: version(n) for n in ("xunlian", "tokenizers", "numpy", "pyarrow")}
        | {"python": platform.python_version()},
        "overrides": [*STAGES, *options.overrides],
        "workers": options.workers,
        "megabytes": options.megabytes,
        "peak_rss_megabytes": round(peak / 1e6),
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
