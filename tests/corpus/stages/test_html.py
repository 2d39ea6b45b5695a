import gzip
import json
import re
import time
from collections import Counter

import pytest
from conftest import shared_data

from xunlian.corpus.stages import html_blocks
from xunlian.corpus.stages.boilerplate import is_page_furniture, starts_appendix
from xunlian.corpus.stages.html_guard import is_too_deep
from xunlian.errors import InputError

FILLER = (
    "This paragraph is long enough to be taken for one, has a comma, and says a little something. "
)
CHINESE = "这一段话足够长，说了一件小事，所以它会被当作正文的一部分保留下来，不会丢失。"

TRADITIONAL = "這一段話足夠長，說了一件小事，所以它會被當作正文的一部分保留下來，我們都知道。"


def page(body: str, title: str = "A title") -> str:
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>"


@pytest.fixture(scope="module")
def extract():
    pytest.importorskip("resiliparse")
    from xunlian.corpus.stages.html import make_extractor

    return make_extractor("fast")


def only(result: tuple[list[str], list[str | None]]) -> tuple[str, str | None]:
    return result[0][0], result[1][0]


@pytest.mark.parametrize("kind", ["h1", "h2", "h5"])
def test_a_long_heading_close_above_the_text_is_its_title(extract, kind: str) -> None:
    # As on the pages of societies and offices, whose <title> is the site's.
    body = (
        "<main><h3>首页 - 动态</h3><{0}>二〇一九年人文地理学术年会在重庆举行</{0}>"
        "<div>发布时间：2019-05-18 来源：学会</div><p>{1}</p><p>{1}完。</p></main>"
    )
    text, _ = only(extract([page(body.format(kind, CHINESE), "动态 - 学会官网")]))
    assert text.split("\n")[0] == "二〇一九年人文地理学术年会在重庆举行"
    assert "首页" not in text and "发布时间" not in text


def test_the_article_stays_and_the_site_goes(extract) -> None:
    text, reason = only(
        extract(
            [
                page(
                    "<nav><a href='/'>Home</a> <a href='/x'>News</a></nav><main>"
                    "<h1>A title</h1><p>By Ann Smith</p><p>November 3, 2019</p>"
                    "<figure><img><figcaption>A caption.</figcaption></figure>"
                    f"<p>{FILLER}</p><h2>A heading</h2><p>Short.</p>"
                    f"<p>Photo: Getty Images</p><p>{FILLER}Two.</p><p>Share on Facebook</p>"
                    "<h3>Related articles</h3><ul><li><a href='/1'>Another one</a></li></ul></main>"
                    "<footer>© 2019 All rights reserved.</footer>"
                )
            ]
        )
    )
    assert reason is None
    assert text == (f"A title\n\n{FILLER.strip()}\n\nA heading\n\nShort.\n\n{FILLER}Two.")


def test_chinese_articles_are_read_like_english_ones(extract) -> None:
    text, _ = only(
        extract(
            [
                page(
                    "<div>首页 &gt; 新闻 &gt; 正文</div><h1>标题在此</h1>"
                    "<div>2019-09-07 来源：某报</div>"
                    f"<p>{CHINESE}</p><p>{CHINESE}二。</p><p>责任编辑：张三</p><p>相关推荐</p>"
                    "<ul><li><a href='/1'>别的文章</a></li></ul><p>版权所有 京ICP备1号</p>"
                )
            ]
        )
    )
    assert text == f"标题在此\n\n{CHINESE}\n\n{CHINESE}二。"


def test_a_single_han_character_in_an_element_is_not_lost(extract) -> None:
    body = f"<p>{CHINESE}</p><p>一<b>中</b>二<i> 文 </i>三<u>&#23383;</u>四，{CHINESE}</p>"
    text, _ = only(extract([page(f"<main>{body}</main>")]))
    assert "一中二 文 三字四" in text


def test_readings_over_han_characters_are_left_out(extract) -> None:
    word = "<ruby>漢<rt>かん</rt></ruby><ruby>字<rp>(</rp><rt>じ</rt></ruby>"
    text, _ = only(extract([page(f"<main><p>{word}の{CHINESE}</p></main>")]))
    assert text.startswith("漢字の")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "big5"])
@pytest.mark.parametrize("claim", ["", "right", "utf-8"])
def test_pages_are_decoded_whatever_they_claim(extract, encoding: str, claim: str) -> None:
    text = TRADITIONAL if encoding == "big5" else CHINESE
    name = {"right": encoding, "": ""}.get(claim, claim)
    meta = f"<meta charset={name}>" if name else ""
    source = f"<html><head>{meta}</head><body><main><p>{text}</p><p>{text}</p></main></body></html>"
    assert text in only(extract([source.encode(encoding)]))[0]


def test_the_charset_of_the_server_is_believed_when_it_fits(extract) -> None:
    text = "Příliš žluťoučký kůň úpěl ďábelské ódy, a pak šel domů, protože už byla tma a zima. "
    source = page(f"<main><p>{text}</p></main>").encode("iso-8859-2")
    assert only(extract([source], ["iso-8859-2"]))[0] == text.strip()
    assert (
        "只有"
        in only(extract([page(f"<main><p>只有{CHINESE}</p></main>").encode()], ["latin-1"]))[0]
    )


def test_a_page_with_nothing_to_say_gives_its_reason(extract) -> None:
    assert only(extract([""])) == ("", "no_main_content")
    menu = page("<ul>" + "<li><a href='/x'>Link</a></li>" * 50 + "</ul>")
    assert only(extract([menu])) == ("", "no_main_content")


def test_pages_keep_their_places(extract) -> None:
    texts, reasons = extract([page(f"<main><p>{FILLER}</p></main>"), b"", "<div>" * 10_000])
    assert texts == [FILLER.strip(), "", ""]
    assert reasons == [None, "no_main_content", "page_too_deep"]


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        ("<div>" * 100_000 + "x" + "</div>" * 100_000, "page_too_deep"),
        ("<b>" * 100_000 + "x", "page_too_deep"),
        ("<table><tr><td>" * 50_000 + "x", "page_too_deep"),
        (b"x" * 100_000_000, "page_too_large"),
        ("<p>unclosed <i>everything" * 200, None),
        ("<p>" * 50_000 + FILLER, None),
        ("<" * 200_000, None),
        ("<!--" * 50_000, "no_main_content"),
        ("<p " + "a=1 " * 50_000 + ">", "no_main_content"),
        (b"\xff\xfe\x00\xd8" * 5_000, None),
    ],
    ids=range(10),
)
def test_hostile_pages_take_no_time(extract, hostile: str | bytes, reason: str | None) -> None:
    started = time.process_time()
    found = only(extract([hostile]))[1]
    assert time.process_time() - started < 2
    assert reason in (None, found)


def test_nul_bytes_do_not_cut_a_page(extract) -> None:
    body = page(f"<main><p>be\0fore {FILLER}</p>\0<p>{FILLER} after.</p></main>")
    text = only(extract([body.encode()]))[0]
    assert text.startswith("before") and text.endswith("after.")


def test_html_in_scripts_does_not_make_a_page_deep() -> None:
    script = "<script>x = [" + '"<div><span>", ' * 2_000 + "]</script>"
    assert not is_too_deep(page(script + "<p>text</p>").encode())
    assert not is_too_deep(b"<p>" * 5_000 + b"<li><td><br><img>" * 5_000)
    assert is_too_deep(b"<ul><li>" * 600)
    assert is_too_deep(b"<!-- --!>" + b"<article>" * 600)
    assert not is_too_deep(b"<ul><li>" * 400)


def test_links_and_captions_do_not_count_as_paragraphs() -> None:
    blocks = html_blocks.read_blocks(
        f'<p>{FILLER}</p>\n<p><a href="/x">{FILLER}</a></p>\n<h2>{FILLER}</h2>\n'
        '<a href="/y">\nblock link\n</a>'
    )
    assert [block.is_paragraph for block in blocks] == [True, False, False, False]
    assert [block.linked for block in blocks] == [False, True, False, True]
    assert [block.kind for block in blocks] == ["p", "p", "h2", ""]


def test_preformatted_text_keeps_its_form() -> None:
    markup = f"<p>{FILLER}</p>\n\n<pre>  def f():\n      return 1 &lt; 2</pre>\n\n<p>{FILLER}2.</p>"
    text = html_blocks.write(html_blocks.choose(html_blocks.read_blocks(markup)))
    assert "  def f():\n      return 1 < 2" in text


@pytest.mark.parametrize(
    "line",
    [
        "By Ann Smith",
        "Photo: Hau Dinh, AP",
        "Image 1 of 8",
        "(Credit: Getty Images)",
        "Wednesday 20 November 2019 9:22 am",
        "2019-09-07 13:43:45 来源: 某报",
        "首页 > 新闻 > 正文",
        "来源：新华网",
        "澎湃新闻记者 张三",
        "（原标题：某事）",
        "写着字的纸团。沙坪坝区公安分局供图 华龙网发",
        "标签",
        "请自觉遵守互联网相关的政策法规，共同营造友善的跟评环境。",
        "网易通行证/邮箱用户可以直接登录：",
    ],
)
def test_captions_bylines_and_dates_are_furniture_of_a_page(line: str) -> None:
    assert is_page_furniture(line)


@pytest.mark.parametrize(
    "line",
    [
        "By the river they sat down.",
        "By morning the town was quiet",
        "In 2019 the company grew.",
        "Photographs of the town were found.",
        "她说：来源不明的钱不能要。",
        "记者从现场了解到，无人受伤。",
        "这些照片都是他在山里拍摄 如下所示",
        "标签上写着产地和日期。",
        "2019年，龙湖集团即将迎来赴港上市10周年。十年前，他们的故事还没有开始，谁也不知道后来会怎样。",
    ],
)
def test_text_is_not_taken_for_furniture(line: str) -> None:
    assert not is_page_furniture(line)
    assert not starts_appendix(line)


@pytest.mark.parametrize(
    "character", [*"|·•,>›» -A扫.（(©关登评分", "a ", "| ", "> ", "via (", "by A ", "扫一"]
)
def test_no_line_makes_the_patterns_slow(character: str) -> None:
    starts = ("", "home", "by ", "share on ", "登录", "联系我们", "字号", "简体", "copyright ")
    lines = [start + character * 200 for start in starts]
    started = time.process_time()
    for line in lines:
        for length in (40, 80, 119):
            is_page_furniture(line[:length] + "\x01")
            starts_appendix(line[:length] + "\x01")
    assert time.process_time() - started < 2


def test_lone_surrogates_are_no_trouble(extract) -> None:
    text, _ = only(extract([page(f"<main><p>{FILLER}\ud800</p></main>")]))
    assert text.startswith(FILLER.strip())


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from xunlian.corpus.stages.html import make_extractor

    monkeypatch.setitem(sys.modules, "resiliparse.parse.encoding", None)
    with pytest.raises(InputError, match=r'pip install "xunlian\[web\]"'):
        make_extractor("fast")


def token_f1(found: str, gold: str) -> float:
    ours, theirs = (Counter(re.findall(r"\w+", text)) for text in (found, gold))
    common = (ours & theirs).total()
    return 2 * common / max(1, ours.total() + theirs.total())


def gold_pages() -> tuple[list[bytes], list[str]]:
    folder = shared_data("html/article-extraction-benchmark")
    gold = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    pages = [gzip.decompress((folder / "html" / f"{key}.html.gz").read_bytes()) for key in gold]
    return pages, [entry["articleBody"] for entry in gold.values()]


def test_fast_mode_reaches_its_quality(extract) -> None:
    pages, gold = gold_pages()
    texts, _ = extract(pages)
    scores = [token_f1(text, wanted) for text, wanted in zip(texts, gold, strict=True)]
    assert sum(scores) / len(scores) >= 0.955


@pytest.mark.slow
def test_precision_mode_reaches_its_quality() -> None:
    pytest.importorskip("lxml_html_clean")
    pytest.importorskip("trafilatura")
    from xunlian.corpus.stages.html import make_extractor

    pages, gold = gold_pages()
    texts, _ = make_extractor("precision")(pages)
    scores = [token_f1(text, wanted) for text, wanted in zip(texts, gold, strict=True)]
    assert sum(scores) / len(scores) >= 0.974


def test_chinese_news_pages_have_their_text_and_none_of_the_site(extract) -> None:
    paths = sorted(shared_data("html/gne-zh").glob("*.gz"))
    pages = [gzip.decompress(path.read_bytes()) for path in paths]
    texts, reasons = extract(pages)
    assert reasons == [None] * len(pages)
    assert sum(len(text) > 200 for text in texts) >= 19  # one is a gallery
    site = re.compile(
        r"(?m)^(?:责任编辑|版权所有|相关推荐|分享到|登录|扫一扫|首页|上一篇|下一篇|.*ICP备)"
    )
    assert not [text for text in texts if site.search(text)]
