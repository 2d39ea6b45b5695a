"""Light cleaning: line ends, control characters, Unicode NFC. It changes no visible character.

Cleaning a text in pieces gives what cleaning it whole gives, as long as no piece ends inside a
line end or before a combining mark; the readers cut so.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np

# All of category Cc but line feed and tab, and the byte order mark.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
# Vertical tab, form feed and next line end a line, too: without them its last word would touch the
# next one's first.
_OTHER_ENDS = "\x0b\x0c\x85"
_OTHER_ENDS_OUT = str.maketrans(dict.fromkeys(_OTHER_ENDS, "\n"))
# Text of these characters alone is in NFC, and composes with nothing: Latin, Cyrillic, common
# punctuation, kana, Han, Hangul syllables, full-width forms. Asking `unicodedata` takes ten times
# as long as this search (30 against 300 MB/s).
_PERHAPS_NOT_NFC = re.compile(
    "[^\x00-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u2190-\u2328\u3001-\u3029"
    "\u3041-\u3096\u309b-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uffee]"
)
# White space, control characters and the byte order mark.
_BLANK = "".join(
    map(
        chr,
        [
            *range(0x21),
            *range(0x7F, 0xA1),
            0x1680,
            *range(0x2000, 0x200B),
            0x2028,
            0x2029,
            0x202F,
            0x205F,
            0x3000,
            0xFEFF,
        ],
    )
)

_HAN_RUN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_WIDE_MARKS = re.compile("[\u3000-\u303f\uff00-\uffef]+")


def clean(text: str, changes: Counter[str]) -> str:
    """The cleaned text. What changed is added to `changes`."""
    if "\r" in text:
        changes["line_ends"] += text.count("\r")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _CONTROL.search(text):
        if ends := sum(map(text.count, _OTHER_ENDS)):
            changes["line_ends"] += ends
            text = text.translate(_OTHER_ENDS_OUT)
        text, count = _CONTROL.subn("", text)
        if count:
            changes["control_characters"] += count
    if _PERHAPS_NOT_NFC.search(text) and not unicodedata.is_normalized("NFC", text):
        changes["pieces_normalized"] += 1
        text = unicodedata.normalize("NFC", text)
    return text


def clean_all(texts: Sequence[str], changes: Counter[str]) -> list[str]:
    """What `clean` makes of each text: most have nothing to change, which one look at all tells."""
    result = list(texts)
    suspects = np.flatnonzero(_may_change()[_codes("\n".join(result))])
    ends = np.cumsum([len(text) + 1 for text in result])
    for i in np.unique(np.searchsorted(ends, suspects, "right")).tolist():
        result[i] = clean(result[i], changes)
    return result


@cache
def _may_change() -> np.ndarray:
    """(0x110000,) bool: the characters for which `clean` has to look at a text."""
    table = np.ones(0x110000, bool)
    plane = "".join(map(chr, range(0x10000)))
    table[:0x10000] = False
    for pattern in (_CONTROL, _PERHAPS_NOT_NFC):
        table[[found.start() for found in pattern.finditer(plane)]] = True
    return table


def _codes(text: str) -> np.ndarray:
    """The code points of a text, (C,) uint8 or uint32."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def is_blank(text: str) -> bool:
    """Whether nothing visible is left after cleaning."""
    return not text.strip(_BLANK)


def count_words(text: str) -> int:
    """Words between spaces, and each Han or Kana character as one (full-width marks as none)."""
    kinds = _kinds()[_codes(text)]
    inside = kinds == _IN_WORD
    begins = np.count_nonzero(inside[1:] & ~inside[:-1]) + np.count_nonzero(inside[:1])
    return int(begins + np.count_nonzero(kinds == _HAN))


_IN_WORD, _HAN, _GAP = range(3)


@cache
def _kinds() -> np.ndarray:
    """(0x110000,) uint8: what each code point is to the counting of words."""
    table = np.full(0x110000, _IN_WORD, np.uint8)
    plane = "".join(map(chr, range(0x10000)))
    for pattern, kind in ((r"\s", _GAP), (_WIDE_MARKS, _GAP), (_HAN_RUN, _HAN)):
        for run in re.finditer(pattern, plane):
            table[run.start() : run.end()] = kind
    table[0x20000:0x40000] = _HAN
    return table


def count_han(text: str) -> int:
    """Han and Kana characters."""
    if text.isascii():
        return 0
    rest, runs = _HAN_RUN.subn(" ", text)
    return len(text) - len(rest) + runs
