"""Text from web pages: quality and speed of ours beside Resiliparse and Trafilatura.

    python benchmarks/corpus_html.py [--data ../shared/data/html] [--rounds 3]

Two sets. `articles`: 90 pages with their whole text by hand (scrapinghub's
article-extraction-benchmark); the mean token F1 (tokens: \\w+, as bags). `snippets`: 114 pages in
many languages with sentences that must be kept and others that must go (trafilatura's evaluation);
precision, recall and F1 over all of them. Every extractor starts from the decoded text, except that
ours is timed from bytes, too. Rounds alternate between the extractors; the best one counts. Results
go to results/corpus_html.jsonl; page texts are (c) their publishers and are not kept.
"""

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from records import record

from xunlian.corpus.stages.html import make_decoder, make_extractor

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "html"
Extractor = Callable[[list[str]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    decode = make_decoder()
    raw, gold = read_articles(arguments.data / "article-extraction-benchmark")
    pages = [decode(page, None) for page in raw]
    snippets = read_snippets(arguments.data / "trafilatura-eval")
    others = [decode(page, None) for page, _, _ in snippets]
    extractors = make_extractors()
    seconds: dict[str, list[float]] = {name: [] for name in (*extractors, "ours fast, from bytes")}
    texts: dict[str, list[str]] = {}
    for _ in range(arguments.rounds):
        for name, extract in extractors.items():
            started = time.perf_counter()
            texts[name] = extract(pages)
            seconds[name].append(time.perf_counter() - started)
        started = time.perf_counter()
        make_extractor("fast")(raw)
        seconds["ours fast, from bytes"].append(time.perf_counter() - started)
    peer = len(pages) / min(seconds["trafilatura"])
    size = sum(map(len, raw))
    for name, times in seconds.items():
        row = {
            "extractor": name,
            "pages": len(pages),
            "pages_per_second": round(len(pages) / min(times), 1),
            "mb_per_second": round(size / 1e6 / min(times), 2),
            "times_trafilatura": round(len(pages) / min(times) / peer, 2),
            "libraries": {it: metadata.version(it) for it in ("resiliparse", "trafilatura")},
        }
        if name in texts:
            scores = [token_scores(*both) for both in zip(texts[name], gold, strict=True)]
            row |= {
                key: round(sum(score[i] for score in scores) / len(scores), 4)
                for i, key in enumerate(("f1", "precision", "recall"))
            }
            row["snippets"] = snippet_scores(extractors[name](others), snippets)
        print(json.dumps(row, ensure_ascii=False))
        record("corpus_html", row)


def make_extractors() -> dict[str, Extractor]:
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    fast, precision = make_extractor("fast"), make_extractor("precision")

    def resiliparse(page: str) -> str:
        return extract_plain_text(page, main_content=True, preserve_formatting=True)

    def each(function: Callable[[str], str | None]) -> Extractor:
        return lambda pages: [function(page) or "" for page in pages]

    return {
        "resiliparse": each(resiliparse),
        "trafilatura": each(trafilatura.extract),
        "trafilatura precision": each(lambda page: trafilatura.extract(page, favor_precision=True)),
        "ours fast": lambda pages: fast(pages)[0],
        "ours precision": lambda pages: precision(pages)[0],
    }


def read_articles(folder: Path) -> tuple[list[bytes], list[str]]:
    gold = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    pages = [gzip.decompress((folder / "html" / f"{key}.html.gz").read_bytes()) for key in gold]
    return pages, [entry["articleBody"] for entry in gold.values()]


def read_snippets(folder: Path) -> list[tuple[bytes, list[str], list[str]]]:
    """(page, what must be in its text, what must not)."""
    entries = json.loads((folder / "evaldata.json").read_text("utf-8")).values()
    found = []
    for entry in entries:
        path = folder / "html" / f"{entry['file']}.gz"
        if path.exists():
            found.append((gzip.decompress(path.read_bytes()), entry["with"], entry["without"]))
    return found


def token_scores(found: str, gold: str) -> tuple[float, float, float]:
    """F1, precision, recall of the bags of tokens."""
    ours, theirs = (Counter(re.findall(r"\w+", text)) for text in (found, gold))
    common = (ours & theirs).total()
    precision, recall = common / max(1, ours.total()), common / max(1, theirs.total())
    return 2 * precision * recall / max(1e-9, precision + recall), precision, recall


def snippet_scores(
    texts: list[str], snippets: list[tuple[bytes, list[str], list[str]]]
) -> dict[str, float]:
    kept = lost = left = gone = 0
    for text, (_, wanted, unwanted) in zip(texts, snippets, strict=True):
        text = " ".join(text.split())
        for snippet in wanted:
            found = " ".join(snippet.split()) in text
            kept, lost = kept + found, lost + (not found)
        for snippet in unwanted:
            found = " ".join(snippet.split()) in text
            left, gone = left + found, gone + (not found)
    precision, recall = kept / max(1, kept + left), kept / (kept + lost)
    return {
        "f1": round(2 * precision * recall / (precision + recall), 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "accuracy": round((kept + gone) / (kept + lost + left + gone), 4),
    }


if __name__ == "__main__":
    main()
