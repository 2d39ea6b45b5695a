"""Web pages out of files and web archives: their bytes as text, not yet what is written on them."""

import codecs
import re

from xunlian.corpus.reading.chinese import chinese_encoding

# What browsers understand by these names (https://encoding.spec.whatwg.org).
_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSET = re.compile(rb"""(?:charset|encoding)\s{0,9}=\s{0,9}["']?([A-Za-z0-9_:.-]{2,40})""")
_HEAD = 4096  # bytes in which a page declares its encoding
_WRONG = 0.01


def decode_page(data: bytes, declared: str | None = None) -> tuple[str, int]:
    """(the page, how many wrong bytes became U+FFFD).

    A byte order mark decides, then whether it is all UTF-8, which nothing else is by chance; then
    what the server says (`declared`), what the page says, and what its characters look like. A name
    in which more than a hundredth does not fit is not believed.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _counted(data[len(mark) :].decode(encoding, "replace"))
    try:
        return data.decode("utf-8"), 0
    except UnicodeDecodeError:
        pass
    said = _CHARSET.search(data[:_HEAD])
    names = (declared, said.group(1).decode("ascii") if said else None)
    tried = [known for name in names if name and (known := _known(name))]
    for encoding in (*tried, chinese_encoding(data, "replace") or "utf-8"):
        text, wrong = _counted(data.decode(encoding, "replace"))
        if wrong <= _WRONG * len(text):
            return text, wrong
    return _counted(data.decode(tried[0] if tried else "cp1252", "replace"))


def _counted(text: str) -> tuple[str, int]:
    return text, text.count("\ufffd")


def _known(name: str) -> str | None:
    try:
        known = codecs.lookup(name).name
        b"\xff".decode(known, "replace")  # idna cannot
    except (LookupError, ValueError):
        return None
    return _MEANT.get(known, known)
