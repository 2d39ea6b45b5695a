"""From web pages to the text that they are about.

Two modes. `fast`: Resiliparse (https://resiliparse.chatnoir.eu), whose output `html_blocks` then
sifts line by line. `precision`: Trafilatura with `favor_precision` (Barbaresi 2021, "Trafilatura:
A Web Scraping Library and Command-Line Tool for Text Discovery and Extraction"), some ten times
slower.

Pages may be hostile: the libraries are not asked about one that is too large, or nested so deep
that they would take minutes over it (`html_guard`).
"""

import codecs
import re
from collections.abc import Callable, Sequence
from html import unescape
from typing import Any, Literal

import numpy as np

from xunlian.corpus.extras import need
from xunlian.corpus.stages import html_blocks
from xunlian.corpus.stages.html_decode import decode_page
from xunlian.corpus.stages.html_guard import MAX_PAGE_BYTES, MAX_PRECISE_BYTES, is_too_deep

Mode = Literal["fast", "precision"]
Page = bytes | str
Extracted = tuple[list[str], list[str | None]]
Take = Callable[[str, bytes], str]
"""A page, and the same as UTF-8 -> its text."""

NO_MAIN_CONTENT = "no_main_content"
# Captions, and the readings over Han characters, which would stand between them.
_SKIPPED = ["figcaption", "rt", "rp"]
# Resiliparse 2.0 drops a piece of text that is one character of three bytes (an icon, it thinks):
# <b>中</b>. With an invisible character beside it, it stays.
_LONE = re.compile(
    r">(\s{0,9}(?:[\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef]|&#x?[0-9a-fA-F]{4,5};))(?=\s{0,9}<)"
)
_JOINER = "\u2060"
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,500})", re.I)
# Class names by which Resiliparse would take quoted posts, which are text, for share buttons.
_QUOTED_POSTS = ("twitter-tweet", "social-media-embed", "instagram-media")
# Main content of fewer UTF-8 bytes than this may be a footer; it is one, when this share of the
# text of the whole page stands before it.
_LITTLE = 500
_FOOTER = 0.6


def make_extractor(mode: Mode = "fast") -> Callable[..., Extracted]:
    """A function (pages, charsets=None) -> (texts, reasons).

    `pages` are bytes or str; `charsets`, if given, what the server said of each. A page without
    text has "" and the reason why: page_too_large, page_too_deep, no_main_content; else None.

    Raises:
        InputError: the libraries are not installed.
    """
    decode = make_decoder()
    take = _make_fast() if mode == "fast" else _make_precise()
    most = MAX_PAGE_BYTES if mode == "fast" else MAX_PRECISE_BYTES

    def extract_all(
        pages: Sequence[Page], charsets: Sequence[str | None] | None = None
    ) -> Extracted:
        texts: list[str] = []
        reasons: list[str | None] = []
        for i, page in enumerate(pages):
            text = ""
            reason = "page_too_large" if len(page) > most else None
            if reason is None:
                source, encoded = read(page, charsets[i] if charsets else None)
                reason = "page_too_deep" if is_too_deep(encoded) else None
                if reason is None:
                    text = take(source, encoded)
                    reason = None if text else NO_MAIN_CONTENT
            texts.append(text)
            reasons.append(reason)
        return texts, reasons

    def read(page: Page, charset: str | None) -> tuple[str, bytes]:
        """The page as text and as UTF-8, in which searches are faster."""
        try:
            if isinstance(page, str):
                text, encoded = page, page.encode("utf-8")
            elif page.startswith(codecs.BOM_UTF8):
                text, encoded = page[3:].decode("utf-8"), page[3:]
            else:
                text, encoded = page.decode("utf-8"), page
        except UnicodeError:
            text = decode(page, charset) if isinstance(page, bytes) else page
            encoded = text.encode("utf-8", "replace")
            text = encoded.decode("utf-8")  # without lone surrogates
        if b"\0" in encoded:
            encoded = encoded.replace(b"\0", b"")
            text = encoded.decode("utf-8")
        return text, encoded

    return extract_all


def extract(pages: Sequence[Page], mode: Mode = "fast") -> list[str]:
    """The main text of each page, "" where there is none.

    Raises:
        InputError: the libraries are not installed.
    """
    return make_extractor(mode)(pages)[0]


def make_viewer() -> Callable[[str], str]:
    """A function (page) -> all of its text that a browser would show, for people to compare with
    what was taken out of it.

    Raises:
        InputError: the libraries are not installed.
    """
    extract_plain_text = need("resiliparse.extract.html2text", "web").extract_plain_text
    return lambda page: extract_plain_text(page, main_content=False, list_bullets=False)


def make_decoder() -> Callable[[bytes, str | None], str]:
    """A function (bytes of a page, what the server said of its encoding) -> text."""
    encoding = need("resiliparse.parse.encoding", "web")

    def canonical(name: str) -> str | None:
        return encoding.map_encoding_to_html5(name, fallback_utf8=False)

    def decode(page: bytes, charset: str | None) -> str:
        return decode_page(page, charset, encoding.detect_encoding, canonical)

    return decode


def _make_fast() -> Take:
    extract_plain_text = need("resiliparse.extract.html2text", "web").extract_plain_text
    parse = need("resiliparse.parse.html", "web").HTMLTree.parse

    def blocks_of(tree: Any, title: str, whole: bool) -> list[html_blocks.Block]:
        markup = extract_plain_text(
            tree,
            preserve_formatting="minimal_html",
            main_content=not whole,
            links=True,
            alt_texts=False,
            comments=False,
            post_meta=False,
            skip_elements=_SKIPPED,
        )
        blocks = html_blocks.read_blocks(markup.replace(_JOINER, ""))
        return html_blocks.choose(blocks, title, whole)

    def take(page: str, encoded: bytes) -> str:
        if b"<blockquote" in encoded:
            for name in _QUOTED_POSTS:
                page = page.replace(name, "quoted")
        if _may_hold_han(encoded) or (encoded.isascii() and b"&#" in encoded):
            page = _LONE.sub(rf">\1{_JOINER}", page)
        found = _TITLE.search(page)
        title = unescape(found[1]).strip() if found else ""
        tree = parse(page)
        blocks = blocks_of(tree, title, whole=False)
        size = sum(block.size for block in blocks)
        if size < _LITTLE:
            # Names of elements mislead now and then: all that the page has, sifted alike.
            whole = blocks_of(tree, title, whole=True)
            more = sum(block.size for block in whole) > 2 * size
            if more and html_blocks.share_before(whole, blocks) > _FOOTER:
                blocks = whole
        return html_blocks.write(blocks)

    return take


def _may_hold_han(encoded: bytes) -> bool:
    """Whether there are characters from U+3000 on."""
    return bool((np.frombuffer(encoded, dtype=np.uint8) >= 0xE3).any())


def _make_precise() -> Take:
    need("lxml_html_clean", "web")
    trafilatura = need("trafilatura", "web")

    def take(page: str, encoded: bytes) -> str:
        return trafilatura.extract(page, favor_precision=True, include_comments=False) or ""

    return take
