"""Near-duplicates found, and how fast: Xunlian beside rensa's and datasketch's own pipelines.

    python benchmarks/corpus_dedup.py [pydocs wikinews zhwiki] [--data ../shared/data]
        [--documents 4000] [--datasketch-python PYTHON] [--no-record]

pydocs is labelled (versions of the same pages, really edited). Into the other two, news in English
and articles in Chinese, near-duplicates are injected with a seed: of half of the documents one or
two copies with up to one edit in thirty tokens, which are equal to about 0.7 similar. A pair is a
duplicate when the Jaccard similarity of the sets of five consecutive tokens, compared without
hashing, is at least 0.8.

Every side gets the texts in memory and names the documents that should go. Of these, `precision`
is the share that is a duplicate of some other document, `recall` the share of the duplicate pairs
of which not both stay. Ours also names pairs (`pair_recall`, `pair_precision`). rensa and
datasketch get tokens made by a regular expression, joined to five-grams, on their own time: that
is what their users write. One core each.
"""

import argparse
import csv
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_HAN = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(f"[{_HAN}]|[^\\W{_HAN}]+")
_PARTS = re.compile("(\\s+|(?<=[\u4e00-\u9fff]))")
SIMILARITY = 0.8
Pairs = set[tuple[int, int]]


def shingles(text: str) -> list[str]:
    """Five consecutive tokens each."""
    tokens = _TOKEN.findall(text.casefold())
    if len(tokens) < 5:
        return [" ".join(tokens)] if tokens else []
    return [" ".join(tokens[i : i + 5]) for i in range(len(tokens) - 4)]


# --- the sides -----------------------------------------------------------------------------------


def ours(texts: list[str]) -> tuple[set[int], dict[str, Any], Pairs]:
    from xunlian.corpus.duplicates.files import Work, write_signatures
    from xunlian.corpus.duplicates.find import dropped, steps
    from xunlian.recipe.corpus_dedup import Deduplicate

    settings = Deduplicate(similarity=SIMILARITY, paragraphs=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.process_time()
        write_signatures([texts], folder, 0, settings)
        seconds = {"sign": time.process_time() - begin}
        for step, jobs in steps(folder, 1, settings):
            begin = time.process_time()
            for job in jobs:
                job()
            seconds[step] = time.process_time() - begin
        drops = dropped(folder, 1, 0)
        kept = drops.copy_of[:, 1].tolist()
        pairs = {(min(i, j), max(i, j)) for i, j in zip(drops.rows.tolist(), kept, strict=True)}
        for path in Work(folder, 1).files("verify"):
            arrays = Work(folder, 1).maps(path)
            pairs |= set(zip(arrays["keys"].tolist(), arrays["others"].tolist(), strict=True))
        on_disk = sum(path.stat().st_size for path in folder.iterdir())
    parts = {f"seconds_{step}": round(value, 3) for step, value in seconds.items()}
    return set(drops.rows.tolist()), parts | {"bytes_on_disk": on_disk}, pairs


def rensa(texts: list[str]) -> set[int]:
    """As its README has it: each document that is no copy of an earlier one is kept."""
    from rensa import RMinHashDeduplicator

    finder = RMinHashDeduplicator(threshold=SIMILARITY, num_perm=128, use_lsh=True)
    keep = finder.add_pairs((str(i), shingles(text)) for i, text in enumerate(texts))
    return {i for i, kept in enumerate(keep) if not kept}


def rensa_21_bands(texts: list[str]) -> set[int]:
    """With as many bands as we take."""
    from rensa import RMinHashDeduplicator

    finder = RMinHashDeduplicator(threshold=SIMILARITY, num_perm=126, use_lsh=True, num_bands=21)
    keep = finder.add_pairs((str(i), shingles(text)) for i, text in enumerate(texts))
    return {i for i, kept in enumerate(keep) if not kept}


def datasketch(texts: list[str]) -> set[int]:
    """The usual loop: query, keep and insert what finds nothing."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=SIMILARITY, num_perm=128)
    gone = set()
    for i, text in enumerate(texts):
        signature = MinHash(num_perm=128)
        signature.update_batch([gram.encode("utf-8", "surrogatepass") for gram in shingles(text)])
        if index.query(signature):
            gone.add(i)
        else:
            index.insert(i, signature)
    return gone


PEERS: dict[str, Callable[[list[str]], set[int]]] = {
    "rensa": rensa,
    "rensa-21-bands": rensa_21_bands,
    "datasketch": datasketch,
}


# --- the texts -----------------------------------------------------------------------------------


def pydocs(data: Path) -> tuple[list[str], Pairs]:
    lines = gzip.decompress((data / "dedup" / "pydocs_versions.jsonl.gz").read_bytes())
    records = [json.loads(line) for line in lines.splitlines()]
    place = {record["id"]: i for i, record in enumerate(records)}
    truth = set()
    with open(data / "dedup" / "pydocs_versions.pairs.tsv", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["jaccard_5word"]) >= SIMILARITY:
                i, j = sorted((place[row["id1"]], place[row["id2"]]))
                truth.add((i, j))
    return [record["text"] for record in records], truth


def wikinews(data: Path) -> list[str]:
    paths = sorted((data / "lm_en" / "enwikinews").glob("*.gz"))
    lines = (line for p in paths for line in gzip.decompress(p.read_bytes()).splitlines())
    return [text for line in lines if (text := json.loads(line)["text"])]


def zhwiki(data: Path) -> list[str]:
    found = []
    for path in sorted((data / "lm_zh" / "zhwiki2023").glob("*.gz")):
        for part in gzip.decompress(path.read_bytes()).decode().split("<doc ")[1:]:
            body = part.split(">", 1)[1].split("</doc>")[0].strip()
            if len(body) > 50:
                found.append(body)
    return found


def injected(texts: list[str], documents: int, seed: int = 1) -> tuple[list[str], Pairs]:
    rng = random.Random(seed)
    made = rng.sample(texts, min(documents, len(texts)))
    for text in made[::2]:
        for _ in range(rng.choice((1, 1, 2))):
            parts = _PARTS.split(text)
            for _ in range(rng.randrange(1 + len(_TOKEN.findall(text)) // 30)):
                place = rng.randrange(len(parts))
                word = parts[rng.randrange(len(parts))]
                parts[place] = rng.choice(("", parts[place] + " " + word, word))
            made.append("".join(parts))
    rng.shuffle(made)
    return made, similar_pairs(made)


def similar_pairs(texts: list[str]) -> Pairs:
    """By comparing the sets themselves."""
    sets = [set(shingles(text)) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    shared: Counter[tuple[int, int]] = Counter()
    for j, grams in enumerate(sets):
        for gram in grams:
            if len(holders[gram]) < 1000:  # else it says little, and costs much
                shared.update((i, j) for i in holders[gram])
                holders[gram].append(j)
    likely = (pair for pair, n in shared.items() if n >= 0.3 * len(sets[pair[0]]))
    found = set()
    for i, j in likely:
        both = len(sets[i] & sets[j])
        if both >= SIMILARITY * (len(sets[i]) + len(sets[j]) - both) - 1e-9:
            found.add((i, j))
    return found


# --- the comparison ------------------------------------------------------------------------------


def judge(gone: set[int], truth: Pairs) -> dict[str, float]:
    duplicates = {i for pair in truth for i in pair}
    return {
        "dropped": len(gone),
        "recall": round(sum(i in gone or j in gone for i, j in truth) / len(truth), 4),
        "precision": round(len(gone & duplicates) / max(1, len(gone)), 4),
    }


def judge_pairs(pairs: Pairs, truth: Pairs, texts: list[str]) -> dict[str, float]:
    """Of exact copies only the first is compared, and its pairs are those of all."""
    first: dict[str, int] = {}
    of = [first.setdefault(" ".join(text.split()).casefold(), i) for i, text in enumerate(texts)]
    classes = {frozenset((of[i], of[j])) for i, j in pairs}
    hit = sum(of[i] == of[j] or frozenset((of[i], of[j])) in classes for i, j in truth)
    return {
        "pair_recall": round(hit / len(truth), 4),
        "pair_precision": round(len(truth & pairs) / max(1, len(pairs)), 4),
    }


def run_peer(name: str, texts: list[str], python: str) -> tuple[set[int], float, str] | None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        command = [python, __file__, "--peer", name, "--texts", file.name]
        environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{name} does not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    result = json.loads(done.stdout)
    return set(result["gone"]), result["seconds"], result["version"]


def peer(name: str, path: str) -> None:
    """In a process of its own, with an interpreter that may be another."""
    texts = json.loads(Path(path).read_text("utf-8"))
    begin = time.process_time()
    gone = PEERS[name](texts)
    seconds = time.process_time() - begin
    version = metadata.version(name.split("-")[0])
    print(json.dumps({"gone": sorted(gone), "seconds": seconds, "version": version}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["pydocs", "wikinews", "zhwiki"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--datasketch-python", default=sys.executable)
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--texts")
    options = parser.parse_args()
    if options.peer:
        peer(options.peer, options.texts)
        return
    sys.path.insert(0, str(ROOT / "src"))
    from records import record

    sources = {"wikinews": wikinews, "zhwiki": zhwiki}
    for name in options.names:
        if name == "pydocs":
            texts, truth = pydocs(options.data)
        else:
            texts, truth = injected(sources[name](options.data), options.documents)
        megabytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / 1e6
        row: dict[str, Any] = {
            "texts": name,
            "documents": len(texts),
            "megabytes": round(megabytes, 2),
            "pairs": len(truth),
        }
        ours(texts[:50])  # the tables are made once a process
        begin = time.process_time()
        gone, parts, pairs = ours(texts)
        seconds = time.process_time() - begin
        sides: dict[str, dict[str, Any]] = {
            "xunlian": timed(seconds, megabytes, len(texts))
            | judge(gone, truth)
            | judge_pairs(pairs, truth, texts)
            | parts
        }
        for other in PEERS:
            python = options.datasketch_python if other == "datasketch" else sys.executable
            result = run_peer(other, texts, python)
            if result:
                sides[other] = timed(result[1], megabytes, len(texts)) | judge(result[0], truth)
                sides[other] |= {
                    "times_ours": round(result[1] / seconds, 1),
                    "version": result[2],
                }
        row["sides"] = sides
        print(json.dumps(row, indent=1))
        if not options.no_record:
            record("corpus_dedup", row)


def timed(seconds: float, megabytes: float, documents: int) -> dict[str, float]:
    return {
        "cpu_seconds": round(seconds, 3),
        "megabytes_per_second": round(megabytes / seconds, 2),
        "documents_per_second": round(documents / seconds),
    }


if __name__ == "__main__":
    main()
