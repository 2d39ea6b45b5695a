"""Scores against sacreBLEU and rouge-score themselves, and against ROUGE done the slow way."""

from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER

import xunlian
from xunlian.errors import InputError
from xunlian.evaluation.rouge import Characters, Words

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ALL = ("bleu", "chrf", "ter", "rouge")

ENGLISH = [
    "The cats were sitting on the mat.\nIt rained.",
    "She is running to the old station in Paris",
    "Nobody knows why the house on the hill was sold.",
    "",
]
ENGLISH_REFERENCES = [
    "It was raining.\nA cat sat on the mat.",
    "She runs to the old station of Paris.",
    "No one knows why the house on the hill was sold.",
    "Something else.",
]
OTHER_REFERENCES = [
    "The cats sit on the mat. It rained.",
    "He walks.",
    "Nobody can say why that house was sold.",
    "Silence",
]
CHINESE = ["明月几时有，把酒问青天。", "他在2024年用PyTorch训练了一个模型。", "今天天气很好"]
CHINESE_REFERENCES = [
    "明月何时有？把酒问青天！",
    "2024年，他用 pytorch 训练模型。",
    "昨天下雨，天气不好",
]


def rouge_of(scorer, hypotheses, references):
    """Mean F1 by the package, one reference each."""
    rows = [scorer.score(r, h) for h, r in zip(hypotheses, references, strict=True)]
    return {name: sum(row[name].fmeasure for row in rows) / len(rows) for name in ROUGE}


def slow_tokens(text):
    """Each Chinese character, and each run of ASCII letters and digits, the obvious way."""
    tokens, run = [], ""
    for c in text.lower() + " ":
        if c.isascii() and c.isalnum():
            run += c
            continue
        if run:
            tokens.append(run)
        run = ""
        if "\u4e00" <= c <= "\u9fff":
            tokens.append(c)
    return tokens


def slow_f1(hits, reference, hypothesis):
    return 2 * hits / (reference + hypothesis) if reference + hypothesis else 0.0


def slow_rouge_n(reference, hypothesis, n):
    grams = [
        Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        for tokens in (slow_tokens(reference), slow_tokens(hypothesis))
    ]
    return slow_f1((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())


def slow_rouge_l(reference, hypothesis):
    def longest(a, b):
        if not a or not b:
            return 0
        key = (len(a), len(b))
        if key not in known:
            if a[-1] == b[-1]:
                known[key] = longest(a[:-1], b[:-1]) + 1
            else:
                known[key] = max(longest(a[:-1], b), longest(a, b[:-1]))
        return known[key]

    known = {}
    a, b = slow_tokens(reference), slow_tokens(hypothesis)
    return slow_f1(longest(a, b), len(a), len(b))


def test_english_scores_are_those_of_the_packages():
    found = xunlian.score(ENGLISH, ENGLISH_REFERENCES, ALL)
    expected = {
        "bleu": BLEU(tokenize="13a").corpus_score(ENGLISH, [ENGLISH_REFERENCES]).score,
        "chrf": CHRF().corpus_score(ENGLISH, [ENGLISH_REFERENCES]).score,
        "ter": TER().corpus_score(ENGLISH, [ENGLISH_REFERENCES]).score,
        **rouge_of(RougeScorer(ROUGE, use_stemmer=True), ENGLISH, ENGLISH_REFERENCES),
    }
    assert set(found) == {*expected, "signatures"}
    assert all(type(found[name]) is float for name in expected)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert 0 < found["rouge2"] < found["rougeL"] < found["rougeLsum"] < 1 < found["bleu"] < 100


def test_chinese_scores_are_those_of_sacrebleu_by_character():
    found = xunlian.score(CHINESE, CHINESE_REFERENCES, ALL, language="zh")
    expected = {
        "bleu": BLEU(tokenize="zh").corpus_score(CHINESE, [CHINESE_REFERENCES]).score,
        "chrf": CHRF().corpus_score(CHINESE, [CHINESE_REFERENCES]).score,
        "ter": TER(normalized=True, asian_support=True)
        .corpus_score(CHINESE, [CHINESE_REFERENCES])
        .score,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["bleu"] > 10 and found["ter"] < 100


def test_chinese_rouge_is_the_obvious_count_of_characters():
    found = xunlian.score(CHINESE, CHINESE_REFERENCES, ["rouge"], language="zh")
    pairs = list(zip(CHINESE_REFERENCES, CHINESE, strict=True))
    expected = {
        "rouge1": np.mean([slow_rouge_n(r, h, 1) for r, h in pairs]),
        "rouge2": np.mean([slow_rouge_n(r, h, 2) for r, h in pairs]),
        "rougeL": np.mean([slow_rouge_l(r, h) for r, h in pairs]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["rougeLsum"] == pytest.approx(found["rougeL"])  # one line each
    assert 0.3 < found["rouge2"] < found["rougeL"] < found["rouge1"] < 1


def test_rouge_lsum_takes_lines_as_sentences():
    found = xunlian.score(["乙丙\n甲丁"], ["甲丁\n乙丙"], ["rouge"], language="zh")
    assert found["rougeLsum"] == 1
    assert found["rougeL"] == 0.5


@pytest.mark.parametrize("language", ["zh-CN", "zh_Hant", "ZH", "zho_Hans"])
def test_a_region_or_script_does_not_change_the_language(language):
    plain = xunlian.score(CHINESE, CHINESE_REFERENCES, ALL, language="zh")
    assert xunlian.score(CHINESE, CHINESE_REFERENCES, ALL, language=language) == plain


def test_japanese_is_scored_by_character():
    hypotheses, references = ["猫がマットの上にいる。"], ["猫はマットの上にいた。"]
    found = xunlian.score(hypotheses, references, language="ja")
    bleu = BLEU(tokenize="char").corpus_score(hypotheses, [references])
    assert found["bleu"] == pytest.approx(bleu.score, abs=1e-6)
    assert found["rouge1"] == pytest.approx(8 / 10)


def test_words_of_other_languages_stay_whole():
    assert Words().tokenize("Über l’été, Привет_мир! हिन्दी में") == [
        *["über", "l", "été", "привет", "мир", "हिन्दी", "में"],
    ]
    assert Words().tokenize("e\u0301te\u0301") == Words().tokenize("été")
    found = xunlian.score(["Müller läuft"], ["Müller laufen"], ["rouge"], language="de")
    assert found["rouge1"] == 0.5  # the package's own tokenizer would see m, ller, l, uft


def test_characters_and_foreign_runs_are_tokens_and_punctuation_is_none():
    assert Characters().tokenize("用ＧＰＴ-4写、café！") == ["用", "gpt", "4", "写", "café"]
    assert Characters().tokenize("。，\n ……") == []


def test_several_references_are_used_together_and_rouge_takes_the_best():
    several = [list(pair) for pair in zip(ENGLISH_REFERENCES, OTHER_REFERENCES, strict=True)]
    found = xunlian.score(ENGLISH, several, ALL)
    streams = [ENGLISH_REFERENCES, OTHER_REFERENCES]
    expected = {
        "bleu": BLEU().corpus_score(ENGLISH, streams).score,
        "chrf": CHRF().corpus_score(ENGLISH, streams).score,
        "ter": TER().corpus_score(ENGLISH, streams).score,
    }
    scorer = RougeScorer(ROUGE, use_stemmer=True)
    for name in ROUGE:
        best = [
            max(scorer.score(reference, hypothesis)[name].fmeasure for reference in references)
            for hypothesis, references in zip(ENGLISH, several, strict=True)
        ]
        expected[name] = sum(best) / len(best)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["rouge1"] > xunlian.score(ENGLISH, ENGLISH_REFERENCES)["rouge1"]
    assert all("nrefs:2" in signature for signature in found["signatures"].values())


def test_one_reference_may_stand_in_a_list():
    listed = [[reference] for reference in ENGLISH_REFERENCES]
    assert xunlian.score(ENGLISH, listed, ALL) == xunlian.score(ENGLISH, ENGLISH_REFERENCES, ALL)


def test_signatures_say_what_was_computed():
    bleu = BLEU(tokenize="zh")
    bleu.corpus_score(CHINESE, [CHINESE_REFERENCES])
    found = xunlian.score(CHINESE, CHINESE_REFERENCES, ALL, language="zh")["signatures"]
    assert set(found) == set(ALL)
    assert found["bleu"] == str(bleu.get_signature())
    assert "tok:zh" in found["bleu"] and "case:mixed" in found["bleu"]
    assert "asian:yes" in found["ter"]
    assert found["rouge"] == "nrefs:1|stem:no|tok:characters|version:0.1.2"
    english = xunlian.score(ENGLISH, ENGLISH_REFERENCES)["signatures"]
    assert "tok:13a" in english["bleu"]
    assert "stem:porter" in english["rouge"] and "tok:rouge-score" in english["rouge"]


@pytest.mark.parametrize("language", ["en", "zh", "fr"])
def test_empty_hypotheses_score_nothing(language):
    found = xunlian.score(["", " "], ["a house", "房子"], ALL, language=language, bootstrap=10)
    assert [found[name] for name in ("bleu", "chrf", *ROUGE)] == [0.0] * 6
    assert found["ter"] == pytest.approx(100)
    assert found["intervals"]["bleu"] == (0, 0)


def test_empty_references_score_nothing():
    found = xunlian.score(["a house"], [""], ALL)
    assert [found[name] for name in ("bleu", "chrf", *ROUGE)] == [0.0] * 6


def test_intervals_hold_the_score_and_come_out_the_same_twice():
    random = np.random.default_rng(1)
    words = ["the", "cat", "dog", "house", "runs", "sits", "on", "under", "old", "new"]
    references = [" ".join(random.choice(words, 12)) for _ in range(40)]
    hypotheses = [
        " ".join(w if random.random() < 0.7 else "x" for w in reference.split())
        for reference in references
    ]
    found = xunlian.score(hypotheses, references, ALL, bootstrap=200)
    assert found == xunlian.score(hypotheses, references, ALL, bootstrap=200)
    assert set(found["intervals"]) == {"bleu", "chrf", "ter", *ROUGE}
    for name, (low, high) in found["intervals"].items():
        assert low < found[name] < high
    assert all("bs:200|seed:12345" in s for s in found["signatures"].values())

    result = BLEU().corpus_score(hypotheses, [references], n_bootstrap=200)
    expected = (result._mean - result._ci, result._mean + result._ci)
    assert found["intervals"]["bleu"] == pytest.approx(expected, abs=1e-6)

    # The mean of n independent scores has the standard error s / sqrt(n).
    scorer = RougeScorer(["rouge1"], use_stemmer=True)
    each = [
        scorer.score(r, h)["rouge1"].fmeasure for h, r in zip(hypotheses, references, strict=True)
    ]
    low, high = found["intervals"]["rouge1"]
    assert high - low == pytest.approx(2 * 1.96 * np.std(each) / np.sqrt(len(each)), rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], ["a"], ["blue"]), ["'blue'", "'bleu'"]),
        ((["a"], ["a"], "bleu,rogue"), ["'rogue'", "'rouge'"]),
        ((["a"], ["a"], []), ["No metric", "bleu"]),
        ((["a", "b", "c"], ["a", "b"]), ["3 hypotheses", "2 references"]),
        (([], []), ["hypotheses", "empty"]),
        ((["a"], []), ["references", "empty"]),
        ((["a", "b"], [["a"], []]), ["references[1]", "empty"]),
        ((["a", "b"], ["a", ["b"]]), ["references[1]", "['b']"]),
        ((["a", "b"], [["a"], "b"]), ["references[1]", "'b'"]),
        (("a b", ["a", "b", "c"]), ["hypotheses", "list"]),
        ((["a", None], ["a", "b"]), ["hypotheses[1]", "None"]),
        ((["a"], ["a"], ["bleu"], "Chinese"), ["'Chinese'", "'zh'"]),
        ((["a"], ["a"], ["bleu"], "en", -5), ["bootstrap=-5"]),
        ((["a"], ["a"], ["bleu"], "en", 1), ["bootstrap=1"]),
    ],
)
def test_a_mistake_is_named_with_its_mend(arguments, words):
    with pytest.raises(InputError) as caught:
        xunlian.score(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_metrics_may_stand_in_one_string():
    found = xunlian.score(["a b c d"], ["a b c d"], "bleu, chrf,bleu")
    assert list(found) == ["bleu", "chrf", "signatures"]
    assert found["bleu"] == pytest.approx(100)


def test_not_every_hypothesis_needs_as_many_references():
    names = ["bleu", "chrf", "ter", "rouge"]
    hypotheses = ["a b c d e", "c d e f g"]
    references = [["x y a b", "a b c d f"], ["c d e f h"]]
    padded = [references[0], references[1] * 2]
    some, same = (
        xunlian.score(hypotheses, references, names),
        xunlian.score(hypotheses, padded, names),
    )
    signatures = some.pop("signatures")
    assert all("nrefs:var" in signatures[name] for name in names)
    assert same.pop("signatures")["bleu"].startswith("nrefs:2|")
    assert some == pytest.approx(same)


def test_classical_chinese_is_scored_by_character():
    assert "tok:zh" in xunlian.score(["天地"], ["天地"], "bleu", "lzh")["signatures"]["bleu"]
