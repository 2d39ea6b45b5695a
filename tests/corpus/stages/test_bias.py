"""The bias audit, against a slow count and by hand."""

import json
import random
import re
from collections import Counter
from itertools import combinations

import pytest

from xunlian.corpus.stages.bias import Counts, _words, count, merge, table


def slow(texts: list[str]) -> Counts:
    """Sentence by sentence and word by word."""
    words = _words()
    counts: Counts = Counter()

    def add(language: str, groups: list[int]) -> None:
        named = [group for group in groups if group > 0]
        counts.update(f"{language} words {words.names[group]}" for group in named)
        unique = sorted(set(named))
        counts.update(f"{language} in {words.names[group]}" for group in unique)
        counts.update(
            f"{language} both {words.names[a]} {words.names[b]}" for a, b in combinations(unique, 2)
        )

    longest = max(map(len, words.chinese))
    for text in texts:
        for sentence in re.split(r"[.!?\n]", text):
            tokens = re.findall("[a-z]+", sentence.lower())
            counts["en sentences"] += bool(tokens)
            add("en", [words.english.get(token.encode(), -1) for token in tokens])
        for sentence in re.split(r"[。！？!?\n]", text):
            counts["zh sentences"] += bool(re.search("[\u3400-\u9fff]", sentence))
            at, groups = 0, []
            while at < len(sentence):
                for length in range(longest, 0, -1):
                    word = sentence[at : at + length]
                    if len(word) == length and word in words.chinese:
                        groups.append(words.chinese[word])
                        at += length
                        break
                else:
                    at += 1
            add("zh", groups)
    return +counts


def made_texts() -> list[str]:
    draw = random.Random(3)
    words = _words()
    english = [word.decode() for word, group in words.english.items() if group > 0] + ["the"] * 300
    chinese = [word for word, group in words.chinese.items() if group != 0] + ["的", "走"] * 200
    texts = ["", "\n", ".", "她", "is a nurse", "老"]
    for _ in range(60):
        some = [draw.choice(english).title() for _ in range(draw.randrange(40))]
        texts.append(" ".join(word + draw.choice(["", "", "", ".", "!\n", ","]) for word in some))
        some = [draw.choice(chinese) for _ in range(draw.randrange(60))]
        texts.append("".join(word + draw.choice(["", "", "，", "。", "！"]) for word in some))
        texts.append(texts[-1] + texts[-2])
    return texts


def test_the_fast_count_is_the_slow_one() -> None:
    texts = made_texts()
    counts = count(texts)
    assert counts == slow(texts)
    assert counts.total() > 1000


def test_batches_add_up() -> None:
    texts = made_texts()
    parts = [count(texts[at : at + 7]) for at in range(0, len(texts), 7)]
    assert merge(parts) == count(texts)
    assert Counter(json.loads(json.dumps(merge(parts)))) == count(texts)
    assert table(Counter()) == {"groups": [], "company": []}
    assert +count([]) == Counter()


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("The nurse said she was tired.", {"nurse", "women"}),
        ("HIS FATHER is an engineer", {"men", "engineer"}),
        ("The shed, the theme, a manual.", set()),  # words, not parts of words
        ("女护士很善良", {"women", "nurse", "positive"}),
        ("其他人和他们的吉他", set()),  # no man is in these
        ("男医生和女医生", {"men", "women", "doctor"}),
        ("妇女们在道教的道观", {"women", "daoism"}),
    ],
)
def test_groups_are_seen_in_a_sentence(text: str, groups: set[str]) -> None:
    assert {key.split()[2] for key in count([text]) if " in " in key} == groups


def test_company_is_a_ratio_to_chance() -> None:
    texts = ["She is a nurse."] * 30 + ["He is a nurse."] * 10 + ["He is an engineer."] * 60
    texts += ["It rains."] * 100
    rows = {(row["group"], row["with"]): row for row in table(count(texts))["company"]}
    nurse = rows["women", "nurse"]
    assert nurse["together"] == 30
    assert nurse["expected"] == pytest.approx(30 * 40 / 200)
    assert nurse["ratio"] == pytest.approx(5)
    assert nurse["pmi"] == pytest.approx(2.3219, abs=1e-4)
    assert rows["men", "nurse"]["ratio"] == pytest.approx(10 / (70 * 40 / 200))
    groups = {row["group"]: row for row in table(count(texts))["groups"]}
    assert groups["women"]["sentences"] == 30
    assert groups["women"]["share"] == pytest.approx(0.15)


def test_no_word_is_in_two_groups() -> None:
    import tomllib

    from xunlian.corpus.stages import bias

    path = bias.__file__.replace("bias.py", "bias_words.toml")
    with open(path, "rb") as file:
        tables = tomllib.load(file)
    ignored = tables.pop("ignore")["zh"].split()
    names = [name for groups in tables.values() for name in groups]
    assert len(names) == len(set(names))
    for language in ("en", "zh"):
        words = [
            word
            for groups in tables.values()
            for one in groups.values()
            for word in one[language].split()
        ]
        words += ignored if language == "zh" else []
        twice = [word for word, number in Counter(words).items() if number > 1]
        assert not twice
    assert all(re.fullmatch("[a-z]+", word.decode()) or len(word) == 1 for word in _words().english)
