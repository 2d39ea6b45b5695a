"""Bytes of a web page to text, whatever the page says about itself.

In order: a byte order mark; UTF-8 wherever it fits, as no other encoding looks like it by chance;
what the page or its server claims, if nearly all bytes fit; Chinese by its commonest characters;
what Resiliparse's detector (uchardet) says. Names are read as browsers read them (the WHATWG
encoding standard): gb2312 and gbk mean GB18030, latin-1 means Windows-1252.
"""

import codecs
import re
from collections.abc import Callable

from xunlian.corpus.reading.decode import detect

_META = re.compile(rb"""<meta[^>]{0,300}?charset\s{0,9}=\s{0,9}["']?\s{0,9}([\w.:-]{2,40})""", re.I)
_HEAD = 8192
"""Bytes in which the page's own claim is looked for; browsers look at the first 1,024."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MOST_BAD = 0.02
"""Share of unreadable characters, among those beyond ASCII, that a claimed encoding may have."""


def decode_page(
    page: bytes, charset: str | None, detector: Callable[[bytes], str], canonical: Callable
) -> str:
    """The text of `page`; what does not fit becomes U+FFFD.

    Args:
        charset: what the server said, if anything.
        detector: bytes -> name of an encoding, the last resort.
        canonical: any name of an encoding -> the one that browsers use for it, or None.
    """
    for mark, encoding in _MARKS:
        if page.startswith(mark):
            return page[len(mark) :].decode(encoding, "replace")
    try:
        return page.decode("utf-8")
    except UnicodeDecodeError:
        pass
    claimed = [charset] if charset else []
    claimed += [match[1].decode("ascii", "replace") for match in _META.finditer(page[:_HEAD])]
    for claim in claimed:
        encoding = canonical(claim)
        if encoding is None:
            continue
        text = page.decode(encoding, "replace")
        if text.count("\ufffd") <= MOST_BAD * sum(map(len, _BEYOND_ASCII.findall(text))):
            return text
    sample = page[: 1 << 16]
    if detect(sample) == "gb18030":
        return page.decode("gb18030", "replace")
    return page.decode(canonical(detector(page)) or "utf-8", "replace")


_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
