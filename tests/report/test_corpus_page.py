"""The report of a corpus is a page of its own that shows plain data, all of it escaped."""

from xunlian.report.corpus_page import (
    CorpusData,
    PageSample,
    length_bars,
    origins,
    render_corpus,
    short_id,
)

STAGE = {
    "name": "quality",
    "pieces": 10,
    "bytes": 1000,
    "changed": 0,
    "changes": {},
    "dropped": {"too_few_words": 2},
    "dropped_bytes": {"too_few_words": 250},
    "examples": {"too_few_words": [("<id>", "<b>short</b>")]},
}


def page(**more) -> str:
    return render_corpus(CorpusData("A <corpus>", {"Tokens": "3"}, [STAGE], **more))


def test_all_text_is_escaped() -> None:
    sample = PageSample("a.html#0", [("<i>menu</i>", False)], "<u>text</u>", False, (20, 4), None)
    shown = page(pages=[sample], clusters=[["<s>"]], duplicates=[("2", 1)])
    for markup in ("<corpus>", "<id>", "<b>", "<i>", "<u>", "<s>"):
        assert markup not in shown
    assert "&lt;u&gt;text" in shown and "&lt;b&gt;short" in shown


def test_a_stage_shows_what_goes_on_and_what_it_leaves_out() -> None:
    shown = page()
    assert 'class="bar" style="width: 75.0%"' in shown
    assert 'class="bar lost" style="width: 25.0%"' in shown


def test_what_is_empty_is_left_out() -> None:
    shown = page()
    for title in ("Web pages by eye", "What is left", "Duplicates", "Mixture"):
        assert title not in shown


def test_files_of_one_origin_are_one_row() -> None:
    wiki = {"origin": "Wikipedia", "licence": "CC BY-SA 4.0", "url": "https://example.org"}
    files = [{"name": f"{n}.gz", "bytes": 10, **wiki} for n in range(3)]
    others = [{"name": "a.txt", "bytes": 5}, {"name": "b.txt", "bytes": 6}]
    assert origins([*files, *others]) == [
        {
            "name": "Wikipedia",
            "bytes": 30,
            "licence": "CC BY-SA 4.0",
            "url": "https://example.org",
        },
        {"name": "2 files", "bytes": 11, "licence": "", "url": ""},
    ]
    assert origins(others[:1])[0]["name"] == "a.txt"
    shown = page(sources=[*files, *others])
    assert "not said" in shown and "5 files" in shown


def test_columns_of_lengths_are_named_by_powers_of_two() -> None:
    assert [name for name, _, _ in length_bars({9: 1, 12: 4})] == ["512", "1K", "2K", "4K"]
    assert [count for _, count, _ in length_bars({9: 1, 12: 4})] == [1, 0, 0, 4]
    assert length_bars({20: 1})[0][0] == "1M"


def test_a_document_is_named_by_its_address_or_its_file() -> None:
    assert short_id("crawl/a.warc.gz#3 https://example.org/x") == "https://example.org/x"
    assert short_id("/long/way/to/site/page.html#0") == "site/page.html#0"
