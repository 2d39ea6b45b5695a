"""The report shows ten pages as they are seen beside what was taken out of them."""

from pathlib import Path

import pytest

import xunlian
from xunlian.corpus import page_samples as module
from xunlian.corpus.page_samples import evenly

ENGLISH = (
    "The market of village number {0} has been held beside the river since the year 1800, and the "
    "people who come there, with fruit and with cloth, all know each other well by now."
)
CHINESE = (
    "第{0}个村子的集市从一八〇〇年起就在河边举行，带着水果和布匹来的人，彼此都很熟悉，"
    "大家都愿意来。"
)


def page(text: str) -> str:
    menu = "".join(f"<li><a href='/{i}'>Menu entry {i}</a></li>" for i in range(30))
    return (
        f"<html><head><title>Village</title></head><body><nav><ul>{menu}</ul></nav><main>"
        f"<p>{text}</p><p>{text.replace('1800', '1900').replace('一八', '一九')}</p>"
        "</main><footer>© 2020 Village. All rights reserved.</footer></body></html>"
    )


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch):
    pytest.importorskip("resiliparse", reason="the extra `web` is not installed")
    shown = []
    original = module.page_samples

    def keep(*arguments):
        shown.extend(original(*arguments))
        return shown

    monkeypatch.setattr("xunlian.corpus.job.page_samples", keep)

    def prepare(pages: list[str], *overrides: str):
        folder = tmp_path / "pages"
        folder.mkdir()
        for n, text in enumerate(pages):
            (folder / f"{n:02}.html").write_text(page(text), "utf-8")
        corpus = xunlian.prepare(
            folder, out=tmp_path / "out", tokenizer="byte", val=0, overrides=list(overrides)
        )
        return shown, (corpus.path / "report.html").read_text("utf-8")

    return prepare


def test_ten_pages_are_shown_half_of_them_chinese(prepared) -> None:
    pages = [ENGLISH.format(i) for i in range(14)] + [CHINESE.format(i) for i in range(7)]
    samples, report = prepared(pages)
    assert len(samples) == 10
    assert sum("村子" in sample.after for sample in samples) == 5
    assert [sample.id for sample in samples] == sorted(sample.id for sample in samples)
    assert report.count('class="card page"') == 10
    first = samples[0]
    assert (" The market" not in first.after) and first.after.startswith("The market of village")
    before = dict(first.before)
    assert before["Menu entry 1"] is False and before["… 24 lines …"] is False
    assert before[ENGLISH.format(0)] is True
    assert first.characters[0] > first.characters[1] > 100 and first.left_out is None


def test_fewer_chinese_pages_are_all_shown(prepared) -> None:
    pages = [ENGLISH.format(i) for i in range(14)] + [CHINESE.format(i) for i in range(2)]
    samples, _ = prepared(pages)
    assert len(samples) == 10 and sum("村子" in sample.after for sample in samples) == 2


def test_a_page_that_a_later_stage_left_out_says_so(prepared) -> None:
    samples, report = prepared(
        [ENGLISH.format(i) for i in range(4)],
        "corpus.quality.rules=[]",
        'corpus.quality.keywords=["village number 2"]',
    )
    assert [sample.left_out for sample in samples] == [None, None, ("quality", "keyword"), None]
    assert "then left out by quality: keyword" in report


def test_personal_data_and_markup_do_not_get_into_the_report(prepared) -> None:
    text = ENGLISH.format(1) + " Write to ann@example.org or <b>bob</b>@example.org &lt;script&gt;."
    samples, report = prepared([text], "corpus.privacy=true")
    assert "ann@" not in report and "<EMAIL>" in samples[0].after
    assert "<script>" not in report and "&lt;script&gt;" in report


def test_what_is_shown_is_bounded(prepared) -> None:
    long = " ".join(ENGLISH.format(i) for i in range(200))
    (sample,), report = prepared([long])
    assert len(sample.after) == 1500 and sample.more
    assert sum(len(line) for line, _ in sample.before) <= 3000
    assert len(report) < 60_000


def test_text_alone_has_no_pages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ENGLISH.format(1) * 30, "utf-8")
    corpus = xunlian.prepare(tmp_path / "a.txt", out=tmp_path / "out", tokenizer="byte", val=0)
    assert "Web pages by eye" not in (corpus.path / "report.html").read_text("utf-8")


def test_an_even_choice_has_so_many_and_spans_all() -> None:
    assert evenly(list(range(100)), 10) == list(range(0, 100, 10))
    assert evenly([1, 2], 10) == [1, 2] and evenly([1, 2], 0) == []
