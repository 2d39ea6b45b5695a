"""The texts that the documents speak of, cut from the samples: file name -> content."""

import csv
import gzip
import io
import json
from itertools import islice

from conftest import SAMPLES


def pair_texts() -> dict[str, str]:
    """Aligned files, and abstracts with titles, from the first lines of two samples."""
    with gzip.open(SAMPLES / "tatoeba.en-zh.tsv.gz", "rt", encoding="utf-8") as file:
        pairs = [line.split("\t") for line in islice(file, 1000, 1400)]
    with gzip.open(SAMPLES / "scitldr.en.jsonl.gz", "rt", encoding="utf-8") as file:
        papers = [json.loads(line) for line in islice(file, 300)]
    texts = {}
    for name, part in (("train", pairs[:360]), ("val", pairs[360:390]), ("test", pairs[390:])):
        for column, language in enumerate(("en", "zh")):
            texts[f"{name}.{language}"] = "".join(f"{pair[column]}\n" for pair in part)
    texts["more.zh"] = "".join(f"{pair[1]}\n" for pair in pairs[:20])
    # As short as the tiny context.
    rows = [{"abstract": p["source"][0][:50], "title": p["target"][0][:40]} for p in papers]
    texts["papers.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in rows)
    texts["abstracts.txt"] = "".join(f"{row['abstract']}\n" for row in rows[:3])
    return texts


def messy_texts() -> dict[str, str]:
    """Documents of several sentences, some of them twice, and a web page."""
    with gzip.open(SAMPLES / "scitldr.en.jsonl.gz", "rt", encoding="utf-8") as file:
        abstracts = [" ".join(json.loads(line)["source"]) for line in islice(file, 60)]
    abstracts[0] += " Write to ann.smith@example.org."
    rows = [{"text": text} for text in (*abstracts, *abstracts[:5])]
    paragraphs = "".join(f"<p>{text}</p>" for text in abstracts[:3])
    page = (
        f"<html><body><nav><a href='/'>Home</a></nav><article>{paragraphs}</article></body></html>"
    )
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    links = [["Home", "About us", "Log in", "首页", "联系我们"][i % 5 :] for i in range(60)]
    junk = "".join(
        f"{json.dumps({'text': f'{i} | '.join(row) * 3})}\n" for i, row in enumerate(links)
    )
    return {"notes.jsonl": lines, "crawl/page.html": page, "junk.jsonl": junk}


def fetched_texts() -> dict[str, str]:
    """What the base recipes read, in the form of WikiExtractor, and questions with answers."""
    shakespeare = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:60_000]
    songci = (SAMPLES / "songci.txt").read_text("utf-8")[:30_000]
    wiki, zhwiki = (
        "".join(f'<doc id="{i}">\n{part}\n</doc>\n' for i, part in enumerate(text.split("\n\n")))
        for text in (shakespeare, songci)
    )
    with gzip.open(SAMPLES / "bitext.val.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [
            (row["instruction"], row["response"][:60], row["intent"])
            for row in islice(csv.DictReader(file), 100)
        ]
    known = {intent for _, _, intent in rows[:80]}
    new = [row for row in rows[80:] if row[2] in known]
    texts = {
        "downloads/enwiki/wiki_00.txt": wiki,
        "downloads/enwikinews/wiki_04.jsonl": json.dumps({"text": shakespeare}),
        "downloads/zhwiki/wiki_00.txt": zhwiki,
        "downloads/zhnovels/novel.txt": songci,
    }
    for name, part in (("faq", rows[:80]), ("newfaq", new)):
        file = io.StringIO()
        csv.writer(file).writerows([("question", "answer", "intent"), *part])
        texts[f"{name}.csv"] = file.getvalue()
    return texts


def task_texts() -> dict[str, str]:
    """A few problems of each task, short enough for a tiny context."""
    add = {"prompt": "def add(a, b):\n", "entry_point": "add", "test": "assert add(1, 2) == 3"}
    sums = [{"question": "What is 2+3?", "answer": "5"}, {"input": "二加三？", "golden": "5"}]
    talks = [
        {"prompt": "Are you open?", "completion": "We open at nine.", "intent": "hours"},
        {"prompt": "几点开门？", "completion": "九点开门。", "intent": "hours"},
    ]
    reading = [
        {"context": "Ann is in Rome.", "question": "Where?", "answers": ["Rome"]},
        {"context": "小安在北京。", "question": "在哪？", "answers": ["北京"]},
    ]
    quiz = [{"question": "Is it?", "choices": ["yes", "no"], "answer": 0}]
    return {
        f"{name}.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows)
        for name, rows in {
            "problems": [add],
            "sums": sums,
            "solved": sums,
            "tickets": talks,
            "known": talks,
            "reading": reading,
            "quiz": quiz,
        }.items()
    }
