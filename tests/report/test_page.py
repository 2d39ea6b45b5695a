"""The report: whole, offline, escaped, and never broken by missing data."""

import re
from html.parser import HTMLParser

import pytest

from xunlian.report.page import ReportData, render_report

EVIL = '<script>alert("x")</script><img src=https://evil.example/a.png onerror=x>'


def metrics(steps=40):
    rows = []
    for step in range(1, steps + 1):
        rows.append(
            {
                "step": step,
                "tokens": step * 4096,
                "seconds": 5 + step / 3,
                "loss": 3 + 6 / step,
                "learning_rate": 0.02,
                "grad_norm": 1 / step,
                "tokens_per_second": 12288.0,
                "mfu": 0.5,
            }
        )
        if step % 10 == 0:
            rows.append(
                {
                    "step": step,
                    "tokens": step * 4096,
                    "seconds": 5 + step / 3,
                    "val_loss": 3.5 + 5 / step,
                }
            )
    return rows


class Page(HTMLParser):
    """Collects what a browser would load or run, and the text it would show."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.loads, self.open, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"an event handler on <{tag}>"
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        self.open.append("/" + tag)

    def handle_data(self, data):
        self.text += data


def full(text="hello"):
    return ReportData(
        title=text,
        subtitle=text,
        headline={text: text},
        facts={text: text},
        metrics=metrics(),
        samples=[(text, text)],
        corpus={text: text},
        notes=[text],
        memory=[(text, 1_000_000)],
        memory_measured=1_200_000,
        recipe=text,
        next_commands=[(text, text)],
        made_with=text,
    )


def test_the_page_loads_nothing_and_runs_nothing():
    html = render_report(full())
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert all(load.startswith("#") for load in page.loads)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_text_of_the_user_is_escaped_everywhere():
    html = render_report(full(EVIL))
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count('<script>alert("x")</script>') == 17  # every place of `full`


def test_samples_keep_their_lines_and_their_language():
    samples = [("To be", ",\n  or not"), ("我们", "的生活。")]
    html = render_report(ReportData("run", samples=samples))
    assert '<span class="prompt">To be</span>,\n  or not</p>' in html
    assert '<span class="prompt">我们</span>的生活。</p>' in html


@pytest.mark.parametrize(
    "rows",
    [
        [],
        metrics(1),
        [{"step": 1, "tokens": 8, "seconds": 1.0, "val_loss": 2.5}],
        [
            {
                "step": 1,
                "tokens": 8,
                "seconds": 0.0,
                "loss": float("nan"),
                "learning_rate": 0.0,
                "grad_norm": None,
                "tokens_per_second": 0.0,
                "mfu": 0.0,
            }
        ],
        [{"step": 1}],
        [
            {
                "step": 1,
                "tokens": 0,
                "seconds": 0,
                "loss": 0.0,
                "grad_norm": 0.0,
                "mfu": 0.1,
                "tokens_per_second": 5,
            }
        ]
        * 2,
    ],
)
def test_few_or_odd_metrics_still_make_a_page(rows):
    page = Page(render_report(ReportData("run", metrics=rows)))
    assert page.open[-1] == "/html"


def test_an_empty_report_says_that_nothing_was_logged():
    html = render_report(ReportData("run"))
    assert "No step was logged yet" in html and "<svg" not in html


def test_the_validation_table_marks_the_lowest_loss():
    html = render_report(ReportData("run", metrics=metrics()))
    best = re.findall(r'<tr class="best">(.*?)</tr>', html)
    assert len(best) == 1 and "3.6250" in best[0] and ">40<" in best[0]


def test_memory_shows_the_parts_their_sum_and_the_measured_peak():
    html = render_report(
        ReportData(
            "run",
            memory=[("weights", 40_000_000), ("activations", 310_000_000)],
            memory_measured=400_000_000,
        )
    )
    text = Page(html).text
    assert "350 MB" in text and "400 MB" in text
    assert 'class="bar measured" style="width: 100.0%"' in html
    assert 'class="bar" style="width: 10.0%"' in html


def test_translations_stand_beside_their_references_escaped():
    rows = [("a <dog>", "ein Hund", "eine Katze"), ("天地", "the sky & the earth", "heaven")]
    html = render_report(ReportData("run", translations=rows))
    assert '<dd dir="auto">a &lt;dog&gt;</dd>' in html
    assert html.index("ein Hund") < html.index("<b>eine Katze</b>") < html.index("天地")
    assert "the sky &amp; the earth" in html
    assert "validation sources" not in render_report(ReportData("run"))
