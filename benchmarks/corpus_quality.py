"""The quality rules beside datatrove's filters: the same English texts, speed and verdicts.

    python benchmarks/corpus_quality.py --datatrove-python DATATROVE/bin/python FILES ...
        [--megabytes 3] [--show 0] [--no-record]

Where they differ, it was for one of two reasons. At the limit of words with letters, a few words
decide: spaCy cuts units from numbers (25|m, US$|31), ours does not. And datatrove's FineWeb filter,
unless C4's ran before it, takes a line for unpunctuated that ends in a space.

FILES are JSON lines, Wikipedia extracts, or pages (.html.gz), of which the whole text counts.
Gopher's quality and repetition rules and C4's (with its rule on the ends of lines) judge every
text, on one core, in memory; processor time counts. datatrove 0.10 needs spaCy beside it. Every
disagreement is counted with both reasons and how far the two counts of words are apart. Prints a
table and appends to results/corpus_quality.jsonl.
"""

import argparse
import gzip
import json
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from records import record

from xunlian.corpus.stages.quality import Verdicts, judge
from xunlian.recipe.corpus_quality import Quality

RULES = ("gopher", "repetition", "c4")
PEER = Path(__file__).parent / "peers" / "datatrove_filters.py"
BATCH = 2_000_000  # characters, as a stage gets them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--datatrove-python", required=True)
    parser.add_argument("--megabytes", type=float, default=3)
    parser.add_argument("--show", type=int, default=0, help="disagreements to print, each kind")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    texts = read_texts(options.texts, int(options.megabytes * 1e6))
    size = sum(len(text.encode()) for text in texts)
    seconds = time_ours(texts)
    peer = run_peer(options.datatrove_python, texts)
    peer_seconds = sum(peer["seconds"][name] for name in RULES)
    print(f"{len(texts)} texts of {size / 1e6:.1f} MB of {name_of(options.texts[0])}")
    print(f"datatrove {size / peer_seconds / 1e6:.2f} MB/s, Xunlian {size / seconds / 1e6:.2f}")
    row: dict[str, Any] = {
        "text": name_of(options.texts[0]),
        "documents": len(texts),
        "megabytes": round(size / 1e6, 2),
        "datatrove_mb_per_s": round(size / peer_seconds / 1e6, 3),
        "xunlian_mb_per_s": round(size / seconds / 1e6, 2),
        "ratio": round(peer_seconds / seconds, 1),
        "peer_versions": peer["versions"],
        "agreement": {},
        "disagreements": {},
    }
    together = [True] * len(texts)
    for name in (*RULES, "fineweb"):
        ours = judge(texts, Quality(rules=(name,), end_marks=True), ["en"] * len(texts))
        same, kinds = compare(name, texts, ours, peer, options.show)
        if name in RULES:
            together = [a and b for a, b in zip(together, same, strict=True)]
        row["agreement"][name] = round(sum(same) / len(same), 4)
        row["disagreements"][name] = kinds
        print(f"{name}: the same verdict on {sum(same) / len(same):.2%}")
        for kind, count in kinds.items():
            print(f"    {count:4d}  {kind}")
    row["agreement"]["gopher + repetition + c4"] = round(sum(together) / len(together), 4)
    print(f"all three rules: the same verdicts on {sum(together) / len(together):.2%}")
    if not options.no_record:
        record("corpus_quality", row)


def name_of(path: Path) -> str:
    """The folder of the data set."""
    return path.parent.parent.name if path.parent.name == "html" else path.parent.name


def read_texts(paths: list[Path], size: int) -> list[str]:
    """The English texts of the files, until there are `size` bytes."""
    texts: list[str] = []
    for path in paths:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", errors="replace") as file:
            content = file.read()
        for text in documents(path.name, content):
            if size <= 0:
                return texts
            if text.strip():
                texts.append(text)
                size -= len(text.encode())
    return texts


def documents(name: str, content: str) -> list[str]:
    if ".html" in name:
        from resiliparse.extract.html2text import extract_plain_text

        text = extract_plain_text(content)
        words = text.lower().split()
        english = sum(word in {"the", "of", "and", "to"} for word in words) > 0.03 * len(words)
        return [text] if english else []
    if ".jsonl" in name:
        return [json.loads(line)["text"] for line in content.splitlines()]
    parts = content.split("</doc>")
    return [part.split(">\n", 1)[1].strip() for part in parts if ">\n" in part]


def time_ours(texts: list[str]) -> float:
    """Seconds of processor time for all three; the best of three, after a first one."""
    rules = Quality(rules=RULES, end_marks=True)
    judge(texts[:10], rules)
    best = float("inf")
    for _ in range(3):
        total = 0.0
        for batch in in_batches(texts):
            start = time.process_time()
            judge(batch, rules)
            total += time.process_time() - start
        best = min(best, total)
    return best


def in_batches(texts: list[str]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for text in texts:
        if size > BATCH:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return batches


def run_peer(python: str, texts: list[str]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(texts, file)
        file.flush()
        done = subprocess.run([python, PEER, file.name], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def compare(
    name: str, texts: list[str], ours: Verdicts, peer: dict[str, Any], show: int
) -> tuple[list[bool], dict[str, int]]:
    """Whether each text is kept or dropped by both, and the kinds of disagreement."""
    same, kinds = [], Counter()
    for index, (mine, theirs) in enumerate(zip(ours.reasons, peer["verdicts"][name], strict=True)):
        same.append((mine is None) == (theirs is None))
        if same[-1]:
            continue
        off = int(ours.numbers["words"][index]) - peer["words"][index]
        kind = f"datatrove: {theirs or 'kept'}, Xunlian: {mine or 'kept'}"
        kinds[kind] += 1
        if kinds[kind] <= show:
            real = peer["real_words"][index]
            print(f"--- {kind}; {peer['words'][index]} words ({real} no symbols), ours {off:+d}")
            print(texts[index][:700])
    return same, dict(kinds.most_common())


if __name__ == "__main__":
    main()
