"""Near-duplicates made with a seed, and the slow, obvious way to find them."""

import gzip
import json
import random
import re
from collections import Counter, defaultdict
from functools import cache

from conftest import shared_data

_TOKEN = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]|[^\\W\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]+"
)


def tokens(text: str) -> list[str]:
    """Words without case, and Chinese characters."""
    return _TOKEN.findall(text.casefold())


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = tokens(text)
    return {tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, min(1, len(words))))}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / max(1, len(one | other))


def similar_pairs(texts: list[str], least: float) -> dict[tuple[int, int], float]:
    """All pairs (i < j) of at least this Jaccard similarity."""
    sets = [shingles(text) for text in texts]
    holders = defaultdict(list)
    shared: Counter[tuple[int, int]] = Counter()
    for j, one in enumerate(sets):
        for gram in one:
            shared.update((i, j) for i in holders[gram])
            holders[gram].append(j)
    pairs = {(i, j): n / (len(sets[i]) + len(sets[j]) - n) for (i, j), n in shared.items()}
    return {pair: value for pair, value in pairs.items() if value >= least}


def edited(text: str, edits: int, rng: random.Random) -> str:
    """With some tokens dropped, doubled or put in another's place."""
    parts = re.split("(\\s+|(?<=[\u4e00-\u9fff]))", text)
    for _ in range(edits):
        place = rng.randrange(len(parts))
        match rng.randrange(3):
            case 0:
                parts[place] = ""
            case 1:
                parts[place] += " " + parts[place]
            case 2:
                parts[place] = parts[rng.randrange(len(parts))]
    return "".join(parts)


def with_near_duplicates(texts: list[str], seed: int) -> list[str]:
    """Each text, and of half of them one or two edited copies; shuffled."""
    rng = random.Random(seed)
    made = list(texts)
    for text in texts[::2]:
        size = len(tokens(text))
        for _ in range(rng.choice((1, 1, 2))):
            # An edit takes up to five n-grams from either set: so from equal to about 0.7.
            made.append(edited(text, rng.randrange(1 + size // 30), rng))
    rng.shuffle(made)
    return made


@cache
def wikinews() -> list[str]:
    path = shared_data("lm_en/enwikinews/wiki_04.jsonl.gz")
    lines = gzip.decompress(path.read_bytes()).splitlines()
    return [text for line in lines if (text := json.loads(line)["text"])]


@cache
def zhwiki() -> list[str]:
    path = shared_data("lm_zh/zhwiki2023/AA_wiki_00.txt.gz")
    found = []
    for part in gzip.decompress(path.read_bytes()).decode().split("<doc ")[1:]:
        body = part.split(">", 1)[1].split("</doc>")[0].strip()
        if len(body) > 50:
            found.append(body)
    return found
