"""Languages: the bars on real sentences, and what each of the three judges is there for."""

import gzip
import sys
import unicodedata
from collections import Counter

import pytest
from conftest import shared_data

from xunlian.corpus.stages.language import Identified, Identifier, make_identifier, verdicts
from xunlian.corpus.stages.scripts import (
    CYRILLIC,
    GREEK,
    HAN,
    HAN_JAPANESE,
    HAN_SIMPLIFIED,
    HAN_TRADITIONAL,
    HANGUL,
    JAPANESE,
    KANA,
    LATIN,
    SIMPLIFIED,
    THAI,
    TRADITIONAL,
    count_scripts,
)
from xunlian.errors import InputError
from xunlian.recipe.corpus_language import Language


@pytest.fixture(scope="module")
def identify() -> Identifier:
    pytest.importorskip("fasttext")
    return make_identifier()


def as_class(code: str) -> str:
    return code if code in ("zh", "en") else "other"


def test_chinese_english_and_the_rest_are_told_apart(identify: Identifier) -> None:
    path = shared_data("langid/lingua_sentences.tsv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1) for line in file]
    rows = rows[::4] + [row for row in rows if row[0] in ("zh", "en")]
    found = identify([text for _, text in rows])
    pairs = Counter(
        (as_class(row[0]), as_class(one.code)) for row, one in zip(rows, found, strict=True)
    )
    for name in ("zh", "en", "other"):
        assert pairs[name, name] / sum(n for (real, _), n in pairs.items() if real == name) > 0.98


@pytest.mark.parametrize(
    ("text", "code", "variant"),
    [
        ("我们今天去学校。", "zh", "zh-Hans"),
        ("我們今天去學校。", "zh", "zh-Hant"),
        ("你好", "zh", None),
        ("听说，清华大学这次牺牲最惨重。", "zh", "zh-Hans"),  # the model says Japanese
        ("北京时间 2015-10-11 12:30:45，第 3 次", "zh", "zh-Hans"),
        ("用 Python 的 asyncio 运行这个函数", "zh", "zh-Hans"),
        ("動漫「進擊の巨人」由日本漫畫家諫山創所創作，講述人類與巨人的戰爭", "zh", "zh-Hant"),
        ("京橋創生館で1日とめても安い駐車場！", "ja", None),
        ("歴史検定実施要項", "ja", None),  # no kana, but characters that only Japan writes
        ("カタカナ", "ja", None),
        ("안녕하세요", "ko", None),
        ("สวัสดีชาวโลก", "th", None),
        ("Καλημέρα κόσμε", "el", None),
        ("The cat sat on the mat.", "en", None),
        ("Der Hund liegt vor dem großen Haus und schläft.", "de", None),
        ("Сегодня хорошая погода, и мы идём гулять.", "ru", None),
        # Shona, which the model does not know and takes for English
        ("Akabva angofambisa maoko ake zvishoma, tambo dzese dzikadambuka.", "und", None),
        ("", "und", None),
        ("12:30 — 45 %", "und", None),
        ("\ud800 \udfff", "und", None),
    ],
)
def test_each_text_has_its_language(
    identify: Identifier, text: str, code: str, variant: str | None
) -> None:
    found = identify([text])[0]
    assert (found.code, found.variant) == (code, variant)
    assert 0 <= found.confidence <= 1.0001


def test_neighbours_in_the_batch_change_nothing(identify: Identifier) -> None:
    texts = ["The cat sat on the mat.", "", "猫坐在垫子上。", "Le chat est assis.", "한국어", "1"]
    assert identify(texts) == [identify([text])[0] for text in texts]
    assert identify([]) == []


def test_a_long_document_is_judged_by_beginning_middle_and_end(identify: Identifier) -> None:
    english = "The house on the hill was sold to a family that had come from the north. " * 200
    menu = "Home | Log in | Kontakt\n" * 3
    found = identify(
        [menu + english, english + "你好" * 50, "我们这里有很多人。" * 2000 + english[:300]]
    )
    assert [one.code for one in found] == ["en", "en", "zh"]
    assert found[0].confidence > 0.7


def test_a_verdict_names_the_language_or_the_doubt() -> None:
    found = [
        Identified("en", 0.9),
        Identified("en", 0.2),
        Identified("fr", 0.9),
        Identified("zh", 1.0, "zh-Hant"),
        Identified("und", 0.0),
    ]
    assert verdicts(found, Language(keep=("en", "zh-Hans"))) == [
        None,
        "language_uncertain",
        "language_fr",
        "language_zh_hant",
        "language_uncertain",
    ]
    assert verdicts(found, Language(keep=("zh",)))[3] is None
    assert verdicts(found, Language()) == [None] * 5


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(InputError, match=r'pip install "xunlian\[web\]"'):
        make_identifier()


NAMES = {
    "LATIN": LATIN,
    "CYRILLIC": CYRILLIC,
    "GREEK": GREEK,
    "HANGUL": HANGUL,
    "HIRAGANA": KANA,
    "KATAKANA": KANA,
    "CJK": HAN,
    "THAI": THAI,
}


def test_scripts_are_those_of_the_unicode_names() -> None:
    text = "aZéßłΩжЯ한かナ中的𠀀ไ ,1。"
    counts = count_scripts([text, "", text * 2])
    wanted = Counter(
        NAMES[unicodedata.name(one).split()[0]]
        for one in text
        if unicodedata.category(one)[0] == "L"
    )
    for script, number in wanted.items():
        assert counts[0, script] == number
        assert counts[2, script] == 2 * number
    assert counts.sum(1).tolist() == [len(text), 0, 2 * len(text)]


def test_each_variant_has_characters_of_its_own() -> None:
    assert not set(SIMPLIFIED) & set(TRADITIONAL + JAPANESE)
    assert not set(TRADITIONAL) & set(JAPANESE)
    counts = count_scripts([SIMPLIFIED, TRADITIONAL, JAPANESE])
    assert counts[0, HAN_SIMPLIFIED] == len(SIMPLIFIED) == len(set(SIMPLIFIED))
    assert counts[1, HAN_TRADITIONAL] == len(TRADITIONAL) == len(set(TRADITIONAL))
    assert counts[2, HAN_JAPANESE] == len(JAPANESE) == len(set(JAPANESE))


def test_the_variants_agree_with_opencc() -> None:
    opencc = pytest.importorskip("opencc")
    to_simplified, to_traditional = opencc.OpenCC("t2s"), opencc.OpenCC("s2t")
    for one in SIMPLIFIED:
        assert to_simplified.convert(one) == one != to_traditional.convert(one)
    for one in TRADITIONAL:
        assert to_traditional.convert(one) == one != to_simplified.convert(one)
