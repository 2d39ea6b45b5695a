import json
import unicodedata
from typing import Any

import pytest
from conftest import shared_data

from xunlian.corpus.stages import characters
from xunlian.corpus.stages.boilerplate import is_boilerplate
from xunlian.corpus.stages.clean import make_cleaner
from xunlian.recipe.corpus_clean import Clean

PLAIN: dict[str, Any] = {"mojibake": False}  # needs no library


def clean(text: str, **settings: Any) -> str:
    return make_cleaner(Clean(**{**PLAIN, **settings}))([text])[0][0]


def cases(name: str) -> list[dict[str, Any]]:
    read = json.loads(shared_data(f"dirty/{name}").read_text("utf-8"))
    return read["cases"] if isinstance(read, dict) else read


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("a\r\nb\rc\x0cd\u2028e\x85f", "a\nb\nc\nd\ne\nf"),
        ("\ufeffzero\u200bwidth so\u00adft \x00\x1b", "zerowidth soft "),
        ("cafe\u0301", "caf\u00e9"),
        ("ＡＢＣ１２３，全角！", "ABC123，全角！"),
        ("\u3000\u3000第一段\u3000第二\n \u3000\u3000第三", "第一段 第二\n第三"),
        ("two  spaces \t\nend", "two spaces\nend"),
        ("def f():\n    return  1", "def f():\n    return 1"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        (
            "x&nbsp;&amp;&nbsp;y &amp;nbsp;&#20013;&#x6587; AT&T &unknown;",
            "x & y 中文 AT&T &unknown;",
        ),
        ("<p>One <b class='x'>two</b><br/>three</p>", "\nOne two\nthree\n"),
        ("write &lt;b&gt; for bold", "write <b> for bold"),
        ("if a<b and c>d: List<p> f(vector<a> x)", "if a<b and c>d: List<p> f(vector<a> x)"),
        ("<notatag>kept</notatag>", "<notatag>kept</notatag>"),
    ],
)
def test_dirt_goes_and_text_stays(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "👨\u200d👩\u200d👧 and 🏳️\u200d🌈",
        "می\u200cخواهم",
        "क्\u200dष",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "中文，“引号”——破折号……《书》（括号）",
        "It’s “fine” – so it is…",
        "½ ﬁ Ⅷ ①",
        "indent\n\n    code\n\tmore\n",
    ],
)
def test_what_has_meaning_is_kept(text: str) -> None:
    assert clean(text) == text


def test_joiners_without_meaning_go() -> None:
    assert clean("a\u200db 中\u200c文 x\U000e0061y") == "ab 中文 xy"


def test_changes_are_counted_and_texts_keep_their_places() -> None:
    texts, changes = make_cleaner(Clean(**PLAIN))(
        ["fine", "", "a\u200b&amp;b\x07", "Ａ Share on Facebook"]
    )
    assert texts == ["fine", "", "a&b", "A Share on Facebook"]
    assert changes == {
        "invisible_characters": 1,
        "entities": 1,
        "control_characters": 1,
        "full_width": 1,
    }


def test_compatibility_form_rewrites_look_alikes() -> None:
    text = "ﬁ ½ ① Ａ，"
    assert clean(text, unicode="nfkc") == unicodedata.normalize("NFKC", text)


def test_punctuation_is_normalized_by_the_language_of_the_line() -> None:
    text = "“It’s” — so… ok–no!!!!!!\n他说,“你好”……再见!好"
    assert (
        clean(text, punctuation="normalize") == '"It\'s" - so... ok-no!!!\n他说，“你好”……再见！好'
    )
    assert clean("ＯＫ，（好）", width="punctuation") == "OK,(好)"


@pytest.mark.parametrize(
    "line",
    [
        "All rights reserved.",
        "© 2019 Example Inc. All Rights Reserved",
        "We use cookies to make this site better.",
        "Share on Facebook",
        "Sign up for our newsletter",
        "Read more",
        "ADVERTISEMENT",
        "版权所有 © 2001-2012 某某公司",
        "责任编辑：张三",
        "（责编：李四）",
        "上一篇：春天来了",
        "扫一扫关注我们",
        "京ICP备18020997号-6",
        "未经授权不得转载",
        "分享到：",
    ],
)
def test_lines_of_a_site_are_dropped(line: str) -> None:
    assert clean(f"text before\n{line}\ntext after") == "text before\ntext after"


@pytest.mark.parametrize(
    "line",
    [
        "The court held that all rights reserved to the people stand.",
        "Cookies were baked on Sunday.",
        "Share your bread with the hungry.",
        "Read more books, he told the class.",
        "他负责任地编辑了这本书。",
        "版权是一种权利。",
        "下一篇文章更好看，我很期待，因为作者把故事写得很生动。",
        "扫地的时候他想起了母亲。",
        "Home is where the heart is.",
        "- home",
        "Email",
        "advertising",
        "Next, we leave a comment about the weather.",
        "Follow the river until you see the mill.",
    ],
)
def test_sentences_that_only_resemble_such_lines_stay(line: str) -> None:
    assert not is_boilerplate(line)


def test_cleaning_in_pieces_is_cleaning_the_whole() -> None:
    text = "　　第一行  x \n\nＡ&nbsp;b\u200b\nShare on Facebook\nend \n"
    lines = text.splitlines(keepends=True)
    pieces = make_cleaner(Clean(**PLAIN))(["".join(lines[:3]), "".join(lines[3:])])[0]
    assert "".join(pieces) == clean(text)


def test_cleaning_twice_changes_nothing_more() -> None:
    text = "<p>Ａ&amp;nbsp;  b</p>\u3000\n\n\n\n\n — c\u200b"
    once = clean(text, punctuation="normalize")
    assert clean(once, punctuation="normalize") == once


def test_odd_characters_are_those_that_some_step_may_need() -> None:
    plain = "Plain text, 中文。「引」！"
    assert characters.odd_characters(plain) == set()
    for needed in characters.INVISIBLE | characters.SPACES | characters.FULL_LETTERS:
        assert characters.odd_characters(plain + needed) == {needed}


@pytest.mark.parametrize(
    "text",
    [
        "<" * 100_000,
        "<a " * 30_000,
        "<p a=" * 30_000,
        "&" * 100_000,
        "&amp" * 30_000,
        " " * 100_000 + "x",
        "x" + " \t" * 50_000 + "x",
        "\n" * 100_000,
        "\u3000" * 100_000 + "x",
        "扫" * 100_000,
        "\u200d" * 100_000,
    ],
    ids=range(11),
)
def test_hostile_text_takes_time_in_proportion(text: str) -> None:
    import time

    started = time.process_time()
    clean(text, punctuation="normalize")
    assert time.process_time() - started < 2


def test_mojibake_is_repaired_as_ftfy_does_it() -> None:
    ftfy = pytest.importorskip("ftfy")
    settings: dict[str, Any] = {"markup": False, "boilerplate": False, "width": "keep"}
    for case in cases("ftfy_in-the-wild.json"):
        dirty, fixed = case["original"], case["fixed"]
        # What stands in an entity is read after the repair.
        if ftfy.fix_text(dirty, unescape_html=False) == fixed:
            both = clean(dirty, mojibake=True, **settings), clean(fixed, **settings)
            # Quotes and spaces are not ours to change; ftfy does that with what is left.
            ours, theirs = (ftfy.fix_text(text, fix_encoding=False) for text in both)
            assert ours == theirs


def test_utf8_read_as_a_single_byte_encoding_is_read_again() -> None:
    pytest.importorskip("ftfy")
    assert clean("cafÃ© schÃ¶n, itâ€™s", mojibake=True) == "café schön, it’s"


def test_what_only_looks_like_mojibake_stays() -> None:
    pytest.importorskip("ftfy")
    from xunlian.corpus.stages.mojibake import make_repair

    repair = make_repair()
    for case in cases("ftfy_negative.json"):
        expected = case["original"].replace("\x85", "…")
        assert repair(case["original"])[0] == expected


def test_chinese_read_in_the_wrong_encoding_is_read_again() -> None:
    pytest.importorskip("ftfy")
    clean = make_cleaner(Clean())
    for text in ("中文世界和平发展是人民的共同愿望。", "第三届安全论坛在北京举办，我们都来了。"):
        assert clean([text.encode("gb18030").decode("latin-1"), text])[0] == [text, text]
    text = "中文世界和平，人民的共同愿望"
    assert clean([text.encode("utf-8").decode("gb18030"), text])[0] == [text, text]


@pytest.mark.parametrize(("config", "han"), [("t2s", "simplified"), ("s2t", "traditional")])
def test_simplified_and_traditional_are_those_of_opencc(config: str, han: Any) -> None:
    pytest.importorskip("opencc")
    clean = make_cleaner(Clean(**PLAIN, han=han))
    known = [case for case in cases("opencc_testcases.json") if config in case["expected"]]
    assert len(known) > 50
    assert clean([case["input"] for case in known])[0] == [
        case["expected"][config] for case in known
    ]
