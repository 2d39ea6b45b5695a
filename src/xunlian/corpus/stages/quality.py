"""Quality: which documents of a batch are worth learning from, by published rules and by lists.

- Gopher's quality and repetition rules, C4's and FineWeb's with their own limits in English, and
  the same rules with limits measured in characters for Chinese (`rules/limits.py`).
- A document's script says which limits hold, unless its language is given.
- Everything is counted over a whole batch at once, in arrays (`rules/table.py`).
- C4's rules drop lines, too: what is left of a text is returned.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.c4 import c4, kept_texts, remove_citations
from xunlian.corpus.stages.rules.characters import ALPHABETIC, HAN, traits
from xunlian.corpus.stages.rules.classifier import Classifier, load_classifier
from xunlian.corpus.stages.rules.fineweb import fineweb
from xunlian.corpus.stages.rules.gopher import gopher, mean_word_length
from xunlian.corpus.stages.rules.limits import CHINESE, ENGLISH, JAPANESE, OTHER, Limits
from xunlian.corpus.stages.rules.lists import Lists, compile_lists
from xunlian.corpus.stages.rules.repetition import repetition
from xunlian.corpus.stages.rules.table import Table
from xunlian.recipe.corpus_quality import Quality

_CHINESE_SHARE = 0.3  # of the letters; a Han character says as much as two or three Latin letters
_SAMPLE = 500  # characters of a text that its script is told by
_TABLE_CHARACTERS = 400_000  # what the arrays of one table hold: they stay in the processor's cache
_CHINESE_CODES = {"zh", "lzh", "yue", "wuu", "cmn", "hak", "nan", "gan", "hsn"}


@dataclass(frozen=True)
class Verdicts:
    """What the rules say of a batch.

    Attributes:
        reasons: why each document is dropped; None: it is kept.
        texts: the documents, kept ones less the lines that were dropped.
        changes: lines and citations that were dropped from kept documents.
        found: entries of the user's lists that documents were dropped for.
        numbers: for the report, (D,) each: words, mean_word_length, letter_share (of words), lines,
            chinese (1 where the Chinese limits were used), score (where there is a classifier).
    """

    reasons: list[str | None]
    texts: list[str]
    changes: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, NDArray[Any]] = field(default_factory=dict)


def judge(texts: list[str], rules: Quality, languages: list[str | None] | None = None) -> Verdicts:
    """Judge a batch of documents.

    Args:
        texts: cleaned documents, or pieces of very long ones (each is judged by itself).
        languages: code of each document's language; by default, or where None, the script tells.

    Raises:
        InputError: an entry of the lists is wrong, or the classifier's file is.
    """
    size = len(texts)
    reasons: list[str | None] = [None] * size
    texts = list(texts)
    changes: Counter[str] = Counter()
    found: Counter[str] = Counter()
    lists = _lists(rules.keywords, rules.patterns)
    if lists.keywords or lists.patterns:
        for index, text in enumerate(texts):
            hit = lists.find(text, rules.pattern_seconds)
            if hit:
                reasons[index] = hit[0]
                found[hit[1]] += 1
    classifier = _classifier(rules.classifier) if rules.classifier else None
    numbers = {name: np.zeros(size) for name in _NUMBERS}
    if classifier:
        numbers["score"] = np.zeros(size)
    for limits, group in _by_limits(texts, rules, languages):
        for part in _parts(texts, group):
            for name, values in _judge_part(
                texts, part, rules, limits, classifier, reasons, changes
            ).items():
                numbers[name][part] = values
    return Verdicts(reasons, texts, +changes, found, numbers)


_NUMBERS = ("words", "mean_word_length", "letter_share", "lines", "chinese")


def _judge_part(
    texts: list[str],
    part: list[int],
    rules: Quality,
    limits: Limits,
    classifier: Classifier | None,
    reasons: list[str | None],
    changes: Counter[str],
) -> dict[str, NDArray[Any]]:
    """Judge the documents `part` of `texts`, all by the same limits."""
    here = [texts[index] for index in part]
    counts: dict[str, NDArray[np.int64]] = {}
    if "c4" in rules.rules:
        here, counts["citations"] = remove_citations(here)
    table = Table(here)
    broken: dict[str, NDArray[np.bool_]] = {"empty": table.chunks.counts == 0}
    lines = None
    if "gopher" in rules.rules:
        broken |= gopher(table, limits)
    if "repetition" in rules.rules:
        settled = np.logical_or.reduce(list(broken.values()))
        broken |= repetition(table, limits, settled)
    if "c4" in rules.rules:
        lines = c4(table, limits, rules.end_marks)
        broken |= lines.broken
        here = kept_texts(table, lines)
        counts |= lines.dropped
    if "fineweb" in rules.rules:
        found = fineweb(table, limits, lines.kept if lines else None)
        found["empty"] |= broken["empty"]
        broken |= found
    numbers = _report(table, limits)
    if classifier:
        numbers["score"] = classifier.score_table(table)
        broken["low_score"] = numbers["score"] < rules.classifier_threshold
    names = list(broken)
    failed = np.array([broken[name] for name in names])
    first = np.argmax(failed, axis=0)
    any_failed: NDArray[np.bool_] = np.logical_or.reduce(failed, axis=0)
    kept = np.ones(len(part), bool)
    for row, index in enumerate(part):
        if reasons[index] is None and any_failed[row]:
            reasons[index] = names[int(first[row])]
        if reasons[index] is None:
            texts[index] = here[row]
        else:
            kept[row] = False
    for name, amount in counts.items():
        changes[name] += int(amount[kept].sum())
    return numbers


def _report(table: Table, limits: Limits) -> dict[str, NDArray[Any]]:
    words = table.words
    letters = words.total(table.alphabetic.astype(np.int64))
    return {
        "words": words.counts,
        "mean_word_length": mean_word_length(table),
        "letter_share": letters / np.maximum(words.counts, 1),
        "lines": table.lines.counts,
        "chinese": np.full(len(table.texts), float(limits.count_signs)),
    }


def _by_limits(
    texts: list[str], rules: Quality, languages: list[str | None] | None
) -> Iterator[tuple[Limits, list[int]]]:
    """The documents that each set of limits holds for."""
    limits = {"en": ENGLISH, "zh": CHINESE, "ja": JAPANESE, "other": OTHER}
    groups: dict[str, list[int]] = {name: [] for name in limits}
    unknown = []
    for index in range(len(texts)):
        language = languages[index] if languages else None
        if language is None:
            unknown.append(index)
            continue
        code = language.lower().replace("_", "-").split("-")[0]
        name = "zh" if code in _CHINESE_CODES else code if code in groups else "other"
        groups[name].append(index)
    for index, chinese in zip(unknown, are_chinese([texts[i] for i in unknown]), strict=True):
        groups["zh" if chinese else "en"].append(index)
    for name, group in groups.items():
        if group:
            yield limits[name].with_least_words(rules.min_words), sorted(group)


def are_chinese(texts: list[str]) -> list[bool]:
    """Whether Chinese characters make up enough of the letters of each text, by a sample of it."""
    result = [False] * len(texts)
    foreign = [index for index, text in enumerate(texts) if not text.isascii()]
    if not foreign:
        return result
    samples = [texts[index][:: max(1, len(texts[index]) // _SAMPLE)] for index in foreign]
    found = traits()[np.frombuffer("".join(samples).encode("utf-32-le"), np.uint32)]
    ends = np.cumsum([len(sample) for sample in samples])
    starts = ends - [len(sample) for sample in samples]
    counts = []
    for bit in (HAN, ALPHABETIC):
        sums = np.concatenate([[0], np.cumsum((found & bit) > 0)])
        counts.append(sums[ends] - sums[starts])
    for index, chinese in zip(foreign, counts[0] > _CHINESE_SHARE * counts[1], strict=True):
        result[index] = bool(chinese)
    return result


def _parts(texts: list[str], group: list[int]) -> Iterator[list[int]]:
    """Documents for one table: bounded in characters, one at least."""
    part: list[int] = []
    characters = 0
    for index in group:
        if part and characters + len(texts[index]) > _TABLE_CHARACTERS:
            yield part
            part, characters = [], 0
        part.append(index)
        characters += len(texts[index]) + 1
    if part:
        yield part


@lru_cache(8)
def _lists(keywords: tuple[str, ...], patterns: tuple[str, ...]) -> Lists:
    return compile_lists(keywords, patterns)


def _classifier(path: str) -> Classifier:
    stat = Path(path).stat() if Path(path).exists() else None
    return _loaded(path, stat and (stat.st_mtime_ns, stat.st_ino))


@lru_cache(2)
def _loaded(path: str, version: object) -> Classifier:
    return load_classifier(path)
