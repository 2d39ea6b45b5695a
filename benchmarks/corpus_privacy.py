"""The privacy stage: what it finds of made records, what it takes wrongly in clean text, its speed.

    python benchmarks/corpus_privacy.py [--records 1000] [--data ../shared/data] [--show FILE]
        [--parts recall,clean,speed]

- recall: records that Faker makes (en_US, en_GB, zh_CN), each put into a sentence; found is what
  leaves no character of the record behind.
- clean: matches per 10,000 words (English) or characters (Chinese) of encyclopedias, news, novels,
  poems and documentation. They are candidates: `--show` writes each with its surroundings, so that
  somebody can look whether it is right.
- speed: MB/s of one core, over documents and over lines; beside datatrove's PIIFormatter (e-mail
  and IP only) where datatrove is installed.

A line of JSON a part is appended to benchmarks/results/corpus_privacy.jsonl.
"""

import argparse
import gzip
import json
import random
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from records import record

from xunlian.corpus.clean import count_words
from xunlian.corpus.stages.privacy import find, mask

ROOT = Path(__file__).resolve().parents[1]
BATCH = 2_000_000  # characters

ENGLISH = (
    "The record says {x} and nothing else.",
    "Please note: {x}.",
    "Anna ({x}) answered on Monday, 12 May 2015, after 3 weeks.",
    "{x}",
    "name,value\nSmith,{x}\n",
    'He wrote "{x}" on 2 of the 14 pages.',
)
CHINESE = (
    "记录里写着{x}，没有别的。",
    "请注意：{x}。",
    "2015年5月12日，小王（{x}）在3周后答复。",
    "{x}",
    "姓名：李雷；信息：{x}；备注：无",
    "他在14页中的2页上写了“{x}”。",
)
PLATES = (
    "The car with license plate {x} was seen.",
    "License plate: {x}",
    "A blue van, plate number {x}, left at 9.",
    "vehicle registration {x}",
)


def records(count: int) -> Iterator[tuple[str, str, str]]:
    """Kind, locale, and a sentence with the record between two marks."""
    from faker import Faker

    for locale in ("en_US", "en_GB", "zh_CN"):
        fake = Faker(locale)
        fake.seed_instance(1)
        draw = random.Random(1)

        def credentials(fake: Any = fake) -> str:
            password = quote(fake.password(), safe="")
            return f"https://{fake.user_name()}:{password}@{fake.domain_name()}/{fake.uri_path()}"

        makers: dict[str, Callable[[], str]] = {
            "email": fake.email,
            "ip v4": fake.ipv4,
            "ip v6": fake.ipv6,
            "phone": fake.phone_number,
            "card": fake.credit_card_number,
            "national_id": fake.ssn,
            "plate": fake.license_plate,
            "credentials": credentials,
        }
        for kind, make in makers.items():
            for _ in range(count):
                templates = ENGLISH + CHINESE
                if (kind, locale) == ("plate", "en_US"):
                    templates = PLATES
                yield kind, locale, draw.choice(templates).replace("{x}", f"\1{make()}\2")


def measure_recall(count: int) -> dict[str, Any]:
    """The share found, by kind and locale; and what was missed, in shape."""
    rows = list(records(count))
    marked = [sentence for _, _, sentence in rows]
    plain = [re.sub("[\1\2]", "", sentence) for sentence in marked]
    found = [[] for _ in rows]  # type: list[list[Any]]
    for one in find(plain):
        found[one.text].append(one)
    hits: Counter[str] = Counter()
    right: Counter[str] = Counter()
    missed: dict[str, list[str]] = {}
    for (kind, locale, sentence), finds in zip(rows, found, strict=True):
        start, end = sentence.index("\1"), sentence.index("\2") - 1
        name = kind.split()[0]
        key = f"{kind} {locale}"
        if kind == "credentials":  # of the URL, user and password
            start, end = start + len("https://"), sentence.rindex("@") - 1
        whole = any(one.start <= start and one.end >= end for one in finds)
        hits[key] += whole
        right[key] += whole and any(one.kind == name for one in finds)
        if not whole:
            missed.setdefault(key, []).append(sentence)
    for key, sentences in missed.items():
        print(f"{key}: missed {len(sentences)}, such as {sentences[:4]}")
    return {
        "records": count,
        "recall": {key: hits[key] / count for key in sorted({f"{k} {c}" for k, c, _ in rows})},
        "with the right kind": {key: right[key] / count for key in sorted(hits)},
    }


def corpora(data: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Language, name and documents of each clean corpus."""
    wiki = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)

    def gz(path: Path) -> str:
        return gzip.decompress(path.read_bytes()).decode("utf-8")

    def wikis(pattern: str) -> list[str]:
        return [text for path in sorted(data.glob(pattern)) for text in wiki.findall(gz(path))]

    yield "en", "enwiki2015", wikis("lm_en/enwiki2015/*.gz")
    yield (
        "en",
        "enwikinews",
        [
            json.loads(line)["text"]
            for path in sorted(data.glob("lm_en/enwikinews/*.gz"))
            for line in gz(path).splitlines()
        ],
    )
    yield "en", "tinyshakespeare", [(data / "lm_en/tinyshakespeare.txt").read_text("utf-8")]
    yield "en", "wikitext-2", [(data / "lm_en/wikitext-2-raw/wiki.valid.raw").read_text("utf-8")]
    yield "zh", "zhwiki2023", wikis("lm_zh/zhwiki2023/*.gz")
    yield "zh", "novels", [gz(path) for path in sorted(data.glob("lm_zh/novels/*.gz"))]
    poems = []
    for path in sorted(data.glob("lm_zh/chinese-poetry/*.tar.gz")):
        with tarfile.open(path) as tar:
            poems += [tar.extractfile(m).read().decode("utf-8") for m in tar if m.isfile()]  # type: ignore[union-attr]
    yield "zh", "poetry", poems
    docs = [
        json.loads(line)
        for line in gz(
            data / "translation/python-docs/python_docs_3.13.en-zh.jsonl.gz"
        ).splitlines()
    ]
    yield "en", "python-docs en", [row["en"] for row in docs]
    yield "zh", "python-docs zh", [row["zh"] for row in docs]
    tatoeba = (data / "translation/tatoeba/cmn-eng.dev-part.tsv").read_text("utf-8").splitlines()
    yield "en", "tatoeba en", [line.split("\t")[0] for line in tatoeba]
    yield "zh", "tatoeba zh", [line.split("\t")[1] for line in tatoeba]


def batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def measure_clean(data: Path, show: Path | None) -> Iterator[dict[str, Any]]:
    lines: list[str] = []
    for language, name, texts in corpora(data):
        units = sum(map(count_words if language == "en" else len, texts))
        counts: Counter[str] = Counter()
        begin = time.perf_counter()
        for batch in batches(texts):
            for one in find(batch):
                counts[one.kind] += 1
                if show:
                    text = batch[one.text]
                    around = (
                        f"{text[max(0, one.start - 50) : one.start]}【{text[one.start : one.end]}】"
                        f"{text[one.end : one.end + 30]}"
                    )
                    lines.append(f"{name}\t{one.kind}\t{' '.join(around.split())}\n")
        seconds = time.perf_counter() - begin
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        yield {
            "corpus": name,
            "units": units,
            "matches": dict(counts),
            "matches per 10,000": counts.total() / units * 10_000,
            "MB/s": size / seconds / 1e6,
        }
    if show:
        show.write_text("".join(lines), "utf-8")


def measure_speed(data: Path) -> Iterator[dict[str, Any]]:
    for _, name, texts in corpora(data):
        if name not in ("enwiki2015", "zhwiki2023", "python-docs en"):
            continue
        texts = texts[: 20_000 if name == "python-docs en" else 2_000]
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        row: dict[str, Any] = {"corpus": name, "documents": len(texts), "bytes": size}
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            for batch in batches(texts):
                mask(batch)
            times.append(time.perf_counter() - begin)
        row["MB/s"] = size / min(times) / 1e6
        try:
            from datatrove.data import Document
            from datatrove.pipeline.formatters import PIIFormatter
        except ImportError:
            pass
        else:
            formatter = PIIFormatter()
            begin = time.perf_counter()
            for index, text in enumerate(texts):
                formatter.format(Document(text=text, id=str(index)).text)
            row["datatrove, e-mail and IP, MB/s"] = size / (time.perf_counter() - begin) / 1e6
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--show", type=Path)
    parser.add_argument("--parts", default="recall,clean,speed")
    parser.add_argument("--dry", action="store_true", help="record nothing")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for part in options.parts.split(","):
        if part == "recall":
            rows = [measure_recall(options.records)]
        elif part == "clean":
            rows = list(measure_clean(options.data, options.show))
        else:
            rows = list(measure_speed(options.data))
        for row in rows:
            print(json.dumps(row, ensure_ascii=False, indent=2))
            if not options.dry:
                record("corpus_privacy", {"part": part, **row})


if __name__ == "__main__":
    main()
