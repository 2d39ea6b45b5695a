"""News of Wikinews (WikiExtractor's JSON lines) to headlines and stories, for `prepare --chat`.

    python examples/news_stories.py enwikinews/wiki_*.jsonl.gz > stories.jsonl

    {"prompt": "Write a news story: TITLE", "completion": "TEXT", "url": "https://..."}

Stories of 300 to 1,400 characters are kept whole, longer ones up to a paragraph's end. Articles
that have lost words on the way (WikiExtractor drops templates: "the in .") are left out.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SHORTEST, LONGEST = 300, 1400
# A mark with nothing before it, or two marks around nothing.
_HOLES = re.compile(r"(^|[\s(])[,.;:)]|\(\s*[,;]|\(\s*\)|[\"“]\s*[\"”]", re.MULTILINE)
_HEADING = re.compile(r"^[A-Z][\w ]{0,30}\.$")  # "Speeches.": a section


def story_of(text: str) -> str | None:
    """The beginning of an article, or None when it has holes or is too short."""
    paragraphs = [line.strip() for line in text.splitlines() if line.strip()]
    kept: list[str] = []
    for paragraph in paragraphs:
        if _HEADING.match(paragraph) or len("\n".join([*kept, paragraph])) > LONGEST:
            break
        kept.append(paragraph)
    story = "\n".join(kept)
    return story if len(story) >= SHORTEST and not _HOLES.search(story) else None


def conversations(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for record in records:
        if story := story_of(record["text"]):
            prompt = f"Write a news story: {record['title']}"
            yield {"prompt": prompt, "completion": story, "url": record["url"]}


def read_records(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("Name the files: python examples/news_stories.py FILE.jsonl ...")
    for row in conversations(read_records(map(Path, sys.argv[1:]))):
        print(json.dumps(row, ensure_ascii=False))
