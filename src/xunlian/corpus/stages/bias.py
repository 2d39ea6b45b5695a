"""A bias audit: how often a corpus speaks of groups of people, and in whose company.

A model takes over what its text associates (Caliskan et al. 2017, https://arxiv.org/abs/1608.07187),
so a user should know it before: how many sentences name women, the old, a region, a religion, an
occupation (`bias_words.toml`, English and Chinese), and how much more often than by chance an
occupation or a word that judges stands in the same sentence. The measure is the ratio of the
sentences that name both to those expected if the two were independent; its logarithm is the
pointwise mutual information (Church and Hanks 1990, https://aclanthology.org/J90-1003).

It counts; it does not judge, and it drops nothing. Words are matched without understanding: "old"
is also said of houses, "he" also of anybody.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

Counts = Counter[str]
"""What `count` gives, mergeable by addition and plain enough for JSON. Keys, with a language (en,
zh) first: 'en sentences'; 'en words women', occurrences; 'en in women', sentences that have any;
'en both women nurse', sentences that have both."""

LANGUAGES = ("en", "zh")
COMPANY = ("occupation", "tone")
"""The categories in whose company the groups of the other categories are counted."""

_ENGLISH = re.compile(rb"[a-z]+|[.!?\n\0]")
_SENTENCE, _NOTHING = 0, -1
_ENDS = "。！？!?\n\0"


@dataclass(frozen=True)
class _Words:
    """The names of all groups (index 0: the end of a sentence), their categories, and the words
    of each language with the index of their group."""

    names: tuple[str, ...]
    categories: tuple[str, ...]
    english: dict[bytes, int]
    chinese: dict[str, int]


@cache
def _words() -> _Words:
    with open(Path(__file__).with_name("bias_words.toml"), "rb") as file:
        tables = tomllib.load(file)
    ignored = tables.pop("ignore")["zh"].split()
    names, categories = [""], [""]
    english: dict[bytes, int] = {end.encode(): _SENTENCE for end in ".!?\n\0"}
    chinese: dict[str, int] = dict.fromkeys(ignored, _NOTHING)
    for category, groups in tables.items():
        for name, words in groups.items():
            english |= dict.fromkeys(words["en"].encode().split(), len(names))
            chinese |= dict.fromkeys(words["zh"].split(), len(names))
            names.append(name)
            categories.append(category)
    chinese |= dict.fromkeys(_ENDS, _SENTENCE)
    return _Words(tuple(names), tuple(categories), english, chinese)


def count(texts: Sequence[str]) -> Counts:
    """What one batch says; see `Counts`."""
    joined = "\0".join(texts) + "\0"
    counts: Counts = Counter()
    # One byte a character, so that lower case changes no length; what is not Latin ends a word.
    tokens = _ENGLISH.findall(joined.encode("latin-1", "replace").lower())
    ids = np.fromiter(map(_words().english.get, tokens, repeat(_NOTHING)), np.int32, len(tokens))
    ends = ids == _SENTENCE
    counts["en sentences"] = int(np.count_nonzero(ends[1:] & ~ends[:-1]))
    _tally("en", ids, counts)
    if not joined.isascii():
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        counts["zh sentences"] = _sentences_with_han(codes)
        _tally("zh", _chinese_ids(joined, codes), counts)
    return counts


def _sentences_with_han(codes: np.ndarray) -> int:
    ends = np.flatnonzero(np.isin(codes, [ord(end) for end in _ENDS]))
    han = np.cumsum((codes >= 0x3400) & (codes <= 0x9FFF))[ends]
    return int(np.count_nonzero(np.diff(han, prepend=0)))


def merge(parts: Iterable[Counts]) -> Counts:
    """The counts of several batches as one."""
    total: Counts = Counter()
    for part in parts:
        total.update(part)
    return total


def _chinese_ids(text: str, codes: np.ndarray) -> np.ndarray:
    """The groups of the Chinese words and the ends of sentences, in their order. Of words that
    overlap, the one that begins first counts, and of those the longest."""
    index = _chinese_index()
    places = np.flatnonzero(index.first[np.minimum(codes, 0xFFFF)])
    pairs = _pair(codes[places], codes[np.minimum(places + 1, len(codes) - 1)])
    at = np.minimum(np.searchsorted(index.pairs, pairs), len(index.pairs) - 1)
    # A word of one character, or the first two characters of a longer one.
    single = index.single[np.minimum(codes[places], 0xFFFF)]
    longer = index.pairs[at] == pairs
    places, single, longer, at = (a[single | longer] for a in (places, single, longer, at))
    words = _words().chinese
    ids: list[int] = []
    end = 0
    for place, is_longer, pair in zip(places.tolist(), longer.tolist(), at.tolist(), strict=True):
        if place < end:
            continue
        for length in index.lengths[pair] if is_longer else ():
            found = words.get(text[place : place + length])
            if found is not None:
                ids.append(found)
                end = place + length
                break
        else:
            found = words.get(text[place])
            if found is not None:
                ids.append(found)
    return np.array(ids, np.int32)


@dataclass(frozen=True)
class _Index:
    first: np.ndarray  # whether a word begins with this character
    single: np.ndarray  # whether the character is a word
    pairs: np.ndarray  # first two characters of the longer words, sorted
    lengths: list[list[int]]  # of the words that begin with each pair, longest first


@cache
def _chinese_index() -> _Index:
    words = _words().chinese
    first, single = np.zeros((2, 0x10000), bool)
    lengths: dict[int, set[int]] = {}
    for word in words:
        first[ord(word[0])] = True
        if len(word) == 1:
            single[ord(word)] = True
        else:
            pair = int(_pair(np.array([ord(word[0])]), np.array([ord(word[1])]))[0])
            lengths.setdefault(pair, set()).add(len(word))
    first[0xFFFF] = single[0xFFFF] = False
    pairs = sorted(lengths)
    return _Index(
        first, single, np.array(pairs), [sorted(lengths[pair], reverse=True) for pair in pairs]
    )


def _pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 21 | right


def _tally(language: str, ids: np.ndarray, counts: Counts) -> None:
    """Add what a row of groups and ends of sentences holds."""
    names = _words().names
    kinds = len(names)
    sentences = np.cumsum(ids == _SENTENCE)
    named = ids > 0
    for group, number in enumerate(np.bincount(ids[named], minlength=kinds).tolist()):
        if number:
            counts[f"{language} words {names[group]}"] += number
    unique = np.unique(sentences[named] * kinds + ids[named])
    owners, groups = np.divmod(unique, kinds)
    for group, number in enumerate(np.bincount(groups, minlength=kinds).tolist()):
        if number:
            counts[f"{language} in {names[group]}"] += number
    both = np.zeros((kinds, kinds), np.int64)
    for step in range(1, kinds):  # the groups of a sentence stand together, in order
        same = np.flatnonzero(owners[step:] == owners[:-step])
        if not len(same):
            break
        np.add.at(both, (groups[same], groups[same + step]), 1)
    for left, right in zip(*(a.tolist() for a in np.nonzero(both)), strict=True):
        counts[f"{language} both {names[left]} {names[right]}"] += int(both[left, right])


def table(counts: Counts, least: int = 10) -> dict[str, list[dict[str, Any]]]:
    """The audit as rows of plain data.

    Args:
        least: leave out pairs that are neither named nor expected together in so many sentences.

    Returns:
        "groups": language, category, group, words, sentences, share (of all sentences);
        "company": language, category, group, with, together (sentences), expected, ratio, pmi
        (bits; None where they never meet), the most unusual first.
    """
    return {
        "groups": [row for language in LANGUAGES for row in _group_rows(counts, language)],
        "company": [
            row for language in LANGUAGES for row in _company_rows(counts, language, least)
        ],
    }


def _group_rows(counts: Counts, language: str) -> Iterator[dict[str, Any]]:
    words = _words()
    total = counts[f"{language} sentences"]
    for name, category in zip(words.names[1:], words.categories[1:], strict=True):
        sentences = counts[f"{language} in {name}"]
        if sentences:
            yield {
                "language": language,
                "category": category,
                "group": name,
                "words": counts[f"{language} words {name}"],
                "sentences": sentences,
                "share": sentences / max(total, sentences),
            }


def _company_rows(counts: Counts, language: str, least: int) -> list[dict[str, Any]]:
    words = _words()
    total = max(1, counts[f"{language} sentences"])
    groups = list(zip(words.names[1:], words.categories[1:], strict=True))
    rows = []
    for name, category in groups:
        for other, kind in groups:
            if kind not in COMPANY or category in COMPANY:
                continue
            # A pair is stored in the order of the file.
            together = counts[f"{language} both {name} {other}"]
            expected = counts[f"{language} in {name}"] * counts[f"{language} in {other}"] / total
            if max(together, expected) < least:
                continue
            ratio = together / expected
            rows.append(
                {
                    "language": language,
                    "category": category,
                    "group": name,
                    "with": other,
                    "together": together,
                    "expected": expected,
                    "ratio": ratio,
                    "pmi": math.log2(ratio) if ratio else None,
                }
            )
    return sorted(rows, key=lambda row: -abs(math.log2(max(row["ratio"], 1e-3))))
