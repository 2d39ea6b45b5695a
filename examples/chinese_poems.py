"""Tang poems of the collection chinese-poetry (JSON) to conversations, for `prepare --chat`.

    python examples/chinese_poems.py chinese-poetry/全唐诗/poet.tang.*.json > poems.jsonl

Poems of four or eight lines of five or seven characters are kept: 绝句 and 律诗. Each becomes a
wish and the poem that fulfils it, in simplified characters (by OpenCC, which
`pip install "xunlian[web]"` brings):

    {"prompt": "写一首五言绝句，题目：静夜思", "completion": "床前明月光，疑是地上霜。\\n..."}

Every other wish names, in place of the title, one or two pairs of characters that are frequent in
all poems and stand in this one: 关键词：明月、故乡. The same files give the same lines.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from opencc import OpenCC

COUNTS = {4: "绝句", 8: "律诗"}
METRES = {5: "五言", 7: "七言"}
KEYWORDS = 500  # the most frequent pairs of characters
_MARKS = re.compile("[，。？！；]")
_HAN = re.compile("[\u4e00-\u9fff]+")


def form_of(lines: list[str]) -> str | None:
    """'五言绝句' and the like, or None for what is neither 绝句 nor 律诗."""
    widths = {len(line) for line in lines}
    if len(lines) not in COUNTS or len(widths) != 1 or not all(map(_HAN.fullmatch, lines)):
        return None
    metre = METRES.get(widths.pop())
    return metre and metre + COUNTS[len(lines)]


def read_poems(files: Iterable[Path]) -> Iterator[tuple[str, str, list[str]]]:
    """(title, form, couplets) of each poem that has a form, each once, in simplified characters."""
    simplify = OpenCC("t2s").convert
    seen = set()
    for file in files:
        for poem in json.loads(file.read_text("utf-8")):
            couplets = [simplify(couplet) for couplet in poem["paragraphs"]]
            text = "".join(couplets)
            form = form_of([line for line in _MARKS.split(text) if line])
            if form and text not in seen:
                seen.add(text)
                yield simplify(poem["title"]), form, couplets


def pairs_of(couplets: list[str]) -> set[str]:
    """Every two characters that stand beside each other within a line."""
    lines = [line for couplet in couplets for line in _MARKS.split(couplet)]
    return {line[i : i + 2] for line in lines for i in range(len(line) - 1)}


def conversations(poems: list[tuple[str, str, list[str]]]) -> Iterator[dict[str, str]]:
    counts = Counter(pair for _, _, couplets in poems for pair in pairs_of(couplets))
    # Equally frequent ones in the order of their characters: a set has none that lasts.
    frequent = sorted(counts, key=lambda pair: (-counts[pair], pair))[:KEYWORDS]
    for number, (title, form, couplets) in enumerate(poems):
        found = pairs_of(couplets)
        keywords = [pair for pair in frequent if pair in found][:2]
        by_title = number % 2 == 0 or not keywords
        wish = f"题目：{title}" if by_title else f"关键词：{'、'.join(keywords)}"
        yield {"prompt": f"写一首{form}，{wish}", "completion": "\n".join(couplets)}


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("Name the files: python examples/chinese_poems.py FILE.json ...")
    for row in conversations(list(read_poems(map(Path, sys.argv[1:])))):
        print(json.dumps(row, ensure_ascii=False))
