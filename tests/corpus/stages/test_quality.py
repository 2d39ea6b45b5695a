"""The quality stage drops poor text by the rules of its language, and says why."""

import time
from pathlib import Path

import pytest

from xunlian.corpus.stages.quality import are_chinese, judge
from xunlian.corpus.stages.rules.classifier import train_classifier
from xunlian.errors import InputError
from xunlian.recipe.corpus_quality import Quality

ENGLISH = (
    "The harbour was quiet when we came back in the evening, and nobody waited for us at the "
    "pier. We had to carry the boxes up the hill by ourselves. That took more than an hour! Why "
    "had they not told anyone about it? My brother said that the letter must have been lost. "
    "So we made some tea, sat down with the old maps, and thought about the next day."
)
CHINESE = (
    "傍晚我们回到港口的时候，那里非常安静，码头上没有一个人等着我们。我们只好自己把箱子搬上山去，"
    "这花了一个多小时！他们为什么不告诉别人呢？我哥哥说，那封信一定是在路上丢了。于是我们泡了一壶茶，"
    "坐下来看那些旧地图，想着第二天要做的事情。窗外下起了小雨，远处的灯塔一闪一闪地亮着。"
)
MENU = "\n".join(f"Item {number}\nPrice list\nMore" for number in range(40))
MENU_ZH = "\n".join(f"首页\n新闻{number}\n下载" for number in range(40))


def reasons(texts: list[str], languages: list[str | None] | None = None, **settings: object):
    return judge(texts, Quality(**settings), languages).reasons


def test_good_text_is_kept_as_it_is_in_both_languages() -> None:
    verdicts = judge([ENGLISH, CHINESE], Quality())
    assert verdicts.reasons == [None, None]
    assert verdicts.texts == [ENGLISH, CHINESE]
    assert not verdicts.changes
    assert verdicts.numbers["chinese"].tolist() == [0, 1]


def test_poor_text_is_dropped_in_both_languages() -> None:
    repeated = [(ENGLISH[:88] + " ") * 8, CHINESE[:30] * 12]
    for text in [MENU, MENU_ZH, *repeated, "Too short.", "太短了。", "%$ 12 -- " * 60]:
        assert reasons([text]) != [None], text[:40]


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "\n\n\n", "word", "字", "...", "。。。", "😀", "😀" * 300, "\u3000" * 9]
)
def test_edge_cases_are_dropped_without_a_crash(text: str) -> None:
    assert reasons([text])[0]
    assert reasons([ENGLISH, text, CHINESE])[::2] == [None, None]
    assert reasons([text], rules=("fineweb",), min_words=0)[0]


def test_an_empty_batch_is_fine() -> None:
    verdicts = judge([], Quality())
    assert verdicts.reasons == []
    assert verdicts.texts == []


def test_a_long_piece_is_judged_in_time() -> None:
    for text in ("a" * 262_144, "a " * 131_072, "字" * 262_144, "\n" * 262_144, "a.b-" * 65_536):
        start = time.process_time()
        assert reasons([text])[0]
        assert time.process_time() - start < 2


def test_verdicts_do_not_depend_on_the_batch() -> None:
    texts = [ENGLISH, MENU, CHINESE, "", MENU_ZH, ENGLISH * 3, "word " * 200] * 3
    together = judge(texts, Quality())
    for index, text in enumerate(texts):
        alone = judge([text], Quality())
        assert alone.reasons[0] == together.reasons[index]
        assert alone.texts[0] == together.texts[index]
        for name, values in alone.numbers.items():
            assert values[0] == together.numbers[name][index]


def test_lines_are_dropped_and_counted() -> None:
    text = f"Menu\n{ENGLISH}\nPlease enable JavaScript to go on reading."
    verdicts = judge([text], Quality())
    assert verdicts.texts == [ENGLISH]
    assert verdicts.changes == {"lines_of_few_words": 1, "lines_on_javascript": 1}
    assert judge([text], Quality(rules=("gopher",))).texts == [text]


def test_the_language_given_decides_on_the_rules() -> None:
    german = (
        "Der Hafen war still, als wir am Abend zurückkamen, und niemand wartete auf uns am Steg. "
        "Wir mussten die Kisten selbst den Berg hinauftragen. Das dauerte über eine Stunde! Warum "
        "hatten sie es keinem gesagt? Mein Bruder meinte, der Brief sei wohl verloren gegangen. "
        "Also kochten wir Tee, setzten uns zu den alten Karten und dachten an den nächsten Tag."
    )
    assert reasons([german]) == ["few_stop_words"]
    assert reasons([german], ["de"]) == [None]
    as_chinese, as_english = reasons([CHINESE, CHINESE], ["zh-Hans", "en"])
    assert as_chinese is None
    assert as_english is not None
    assert are_chinese(
        [ENGLISH, CHINESE, german, "日本語のテキストです。ひらがなとカタカナ。"]
    ) == [
        False,
        True,
        False,
        False,
    ]


def test_lists_drop_documents_and_name_the_entry() -> None:
    verdicts = judge(
        [ENGLISH, CHINESE, ENGLISH.replace("maps", "chart 12")],
        Quality(keywords=("灯塔",), patterns=(r"chart \d+",)),
    )
    assert verdicts.reasons == [None, "keyword", "pattern"]
    assert verdicts.found == {"灯塔": 1, r"chart \d+": 1}
    with pytest.raises(InputError, match="no regular expression"):
        judge([ENGLISH], Quality(patterns=("[",)))


def test_a_classifier_drops_what_is_like_the_bad_examples(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    train_classifier([ENGLISH] * 10, ["casino bonus win the money and be of luck " * 9] * 10).save(
        path
    )
    settings = Quality(rules=(), classifier=str(path))
    verdicts = judge([ENGLISH, "win the casino money " * 20], settings)
    assert verdicts.reasons == [None, "low_score"]
    assert verdicts.numbers["score"][0] > 0.5 > verdicts.numbers["score"][1]
