"""Exact match and F1 against the official scripts' rules, written down anew."""

import gzip
import json
import re
import string
from collections import Counter

import pytest
from conftest import shared_data

from xunlian.evaluation.tasks.spans import exact_match, f1

ENGLISH = ["The Denver Broncos", "denver  broncos!", "Broncos of Denver, the Broncos", "a", "",
           "1,5", "an apple-pie for Ann", "the apple pie"]  # fmt: skip


def squad_words(text):
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def test_english_is_scored_as_by_squad():
    for answer in ENGLISH:
        for reference in ENGLISH:
            ours, theirs = squad_words(answer), squad_words(reference)
            same = sum(min(ours.count(word), theirs.count(word)) for word in set(ours))
            if not ours or not theirs:
                expected = float(ours == theirs)
            elif not same:
                expected = 0.0
            else:
                precision, recall = same / len(ours), same / len(theirs)
                expected = 2 * precision * recall / (precision + recall)
            assert f1(answer, [reference], False) == pytest.approx(expected)
            assert exact_match(answer, [reference], False) == float(ours == theirs)


def cmrc_units(text):
    """Chinese letters by themselves, between them NLTK's words; the listed marks are gone."""
    from nltk.tokenize import NLTKWordTokenizer

    marks = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
    text = "".join(letter for letter in text.lower().strip() if letter not in marks)
    parts = re.split("([\u4e00-\u9fa5])", text)
    return [unit for part in parts for unit in NLTKWordTokenizer().tokenize(part)]


def cmrc_f1(answer, reference):
    ours, theirs = cmrc_units(answer), cmrc_units(reference)
    runs = {tuple(ours[i:j]) for i in range(len(ours)) for j in range(i + 1, len(ours) + 1)}
    same = max((len(run) for run in runs if run in {
        tuple(theirs[i : i + len(run)]) for i in range(len(theirs))}), default=0)  # fmt: skip
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "score"),
    [
        ("光荣和ω-force", "光荣和ω-force", 1, 1.0),
        ("光荣", "光荣和ω-force", 0, 2 * 2 / (2 + 4)),
        ("《三国志》。", "三国志", 1, 1.0),
        ("Windows 7", "windows 7。", 1, 1.0),
        ("北京上海", "上海北京", 0, 0.5),
        ("", "北京", 0, 0.0),
        ("无", "北京", 0, 0.0),
    ],
)
def test_chinese_is_scored_by_characters(answer, reference, exact, score):
    assert exact_match(answer, [reference], True) == exact
    assert f1(answer, [reference], True) == pytest.approx(score)
    assert cmrc_f1(answer, reference) == pytest.approx(score)


def test_of_several_references_the_best_counts():
    assert f1("上海", ["北京", "上海市"], True) == pytest.approx(0.8)
    assert exact_match("Ann", ["Bob", "ann"], False) == 1


def test_on_cmrcs_own_answers_the_figures_are_those_of_its_rules():
    with gzip.open(shared_data("education/cmrc2018/cmrc2018_dev.json.gz")) as file:
        data = json.load(file)["data"]
    asked = [qa for part in data for text in part["paragraphs"] for qa in text["qas"]][::60]
    agreed = Counter()
    for qa, other in zip(asked, asked[1:] + asked[:1], strict=True):
        given = [answer["text"] for answer in qa["answers"]]
        for answer in (given[-1], given[0][1:], f"是{given[0]}的", other["answers"][0]["text"]):
            if len(answer) < 60:
                expected = max(cmrc_f1(answer, reference) for reference in given)
                agreed[abs(f1(answer, given, True) - expected) < 1e-9] += 1
    # NLTK parts '1990年' and the like in the same way, but for a few abbreviations.
    assert agreed[True] / agreed.total() > 0.995
