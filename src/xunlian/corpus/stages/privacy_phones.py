"""Telephone numbers: by the form and the numbering plan of a country, or by the word before them.

A number that is part of something else is none: directly before and after it stands no letter, no
digit, no sign of a currency, a file's name or a sum.
"""

import re
from collections.abc import Iterator

from xunlian.corpus.stages.privacy_view import View

_EXTENSION = rb"(?: ?(?:x|ext\.?|extension|#) ?[0-9]{1,6}(?![0-9]))?"
_PHONES = re.compile(
    rb"(?:"
    # Chinese mobile: 138 1234 5678, +86-138-1234-5678
    rb"(?P<mobile>(?:\(?(?:\+|00)?86\)?[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}[ -]?[0-9]{4}"
    rb"|[ -][0-9]{3}[ -][0-9]{5}))"
    # North America: (555) 123-4567, 001-555-123-4567, +1-(555)-123-4567
    rb"|(?P<america>(?:\+[ ]?1[ .\-]?|001[ .\-]?|1[ .\-])?"
    rb"(?:\([2-9][0-9]{2}\)[ .\-]?|[2-9][0-9]{2}[ .\-/]?)[2-9][0-9]{2}[ .\-]?[0-9]{4})"
    # Anywhere, with its country: +44 (0)1632 960123. A digit a step: there is one way to match.
    rb"|(?P<world>\+[ ]?[1-9](?:[ .\-()/]{0,3}[0-9]){7,14})"
    # Elsewhere, within a country: 01632 960 123, (010) 8888-6666, 0571-87654321
    rb"|(?P<trunk>\(?0[1-9][0-9]{1,3}\)?[ \-/]{0,2}(?:[0-9]{6,8}|[0-9]{3,4}[ \-][0-9]{3,4}))"
    rb"|(?P<pairs>0[1-9](?:[ .][0-9]{2}){4})"  # France
    rb"|(?P<abroad>00[1-9](?:[ \-()/]{0,2}[0-9]){8,14})"
    rb"|(?P<service>[48]00[ \-][0-9]{3,4}[ \-][0-9]{3,4})"  # China: 400-123-4567
    rb")(?![0-9])" + _EXTENSION,
    re.IGNORECASE,
)
_CUE = re.compile(
    r"(?:\b(?:tel(?:ephone)?s?|phones?|mobile|cell|fax|call|whatsapp|hotline|dial)\b\.?"
    r"(?: (?:number|numbers|no\.?|is|at|on|us|me|us at|me at|us on))?"
    r"|电话|电話|電話|手机|手機|座机|热线|熱線|传真|傳真|联系方式|致电|拨打)"
    r"(?:号码|號碼|号|是|为|：|:|=|\W){0,4}[(+]?$",
    re.IGNORECASE,
)
_CUED = re.compile(
    rb"\(?\+?[0-9](?:[ .\-()/]{0,2}[0-9]){6,14}(?![0-9])" + _EXTENSION, re.IGNORECASE
)
# What stands directly before or after a number that is no telephone number.
_BOUND_BEFORE = re.compile(rb"[0-9A-Za-z_#$=/\xa3\xa5+&%@.\-]|[0-9][.,]")
_BOUND_AFTER = re.compile(rb"[A-Za-z0-9_%=]|[.,:\-][0-9]|\.[a-z]| ?(?:%|km|kg|USD|dollars|euros)")
# China's mobile prefixes, those of cards for data included (MIIT's numbering plan, 2019 and later).
_MOBILE = re.compile("13[0-9]|14[5-9]|15[0-35-9]|16[2567]|17[0-8]|18[0-9]|19[0-35-9]")
# ITU-T E.164 country codes by their first digits: 1 and 7 stand alone, the rest have two or three.
_COUNTRY = re.compile(
    "1|7|2(?:0|7|1[1-368]|[2-6][0-9]|9[01789])|3(?:[0-469]|5[0-9]|7[0-8]|8[0-35-79])"
    "|4(?:[013-9]|2[013])|5(?:[1-8]|0[0-9]|9[0-9])|6(?:[0-6]|7[02-9]|8[0-35-9]|9[0-2])"
    "|8(?:[1246]|0[08]|5[02356]|7[08]|8[0-3]|86)|9(?:[0-58]|6[0-8]|7[0-79]|9[2-68])"
)
_ISBN = re.compile(
    r"(?:isbn|issn|doi|arxiv|oclc|lccn|pmid|asin)\W{0,3}[\dX\- ]{0,8}$", re.IGNORECASE
)

# Binary numbers, numbers in rows, limits of integers and the like.
_STRUCTURE = re.compile(rb"[-+(.]")
_NOT_PHONES = frozenset(
    [2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 123456789, 1234567890, 9876543210]
)


def find_phones(view: View) -> Iterator[tuple[int, int]]:
    """Telephone numbers: by their numbering plan, or by the word before them."""
    data = view.data
    for first, last in view.numbers(7):
        start = first
        while start > max(0, first - 3) and data[start - 1] in b"+( ":
            start -= 1
        while start < first and data[start] == 32:
            start += 1
        cued = bool(_CUE.search(view.before(start, 32)))
        few = len(data[first:last].translate(None, b" .-()/\xa0")) < 10
        if few and not cued and data[start : start + 1] != b"+":
            continue  # a date, a price, an interval of years
        yield from _phones_in(view, start, last, cued)


def _phones_in(view: View, start: int, last: int, cued: bool) -> Iterator[tuple[int, int]]:
    data = view.data
    stop = min(len(data), last + 16)
    at = start
    while at < last:
        found = _PHONES.search(data, at, stop)
        fits = found is not None and _is_phone(view, found)
        if cued and at == start and not (found and fits and found.start() == at):
            named = _CUED.match(data, at, stop)
            if named and not _BOUND_AFTER.match(data, named.end()):
                yield named.span()
                at = named.end()
                continue
        if not found:
            break
        if fits:
            yield found.span()
            at = found.end()
        else:
            at = _next_number(data, found.start(), last)


_NEXT = re.compile(rb"[0-9]*[^0-9(+]*")


def _next_number(data: bytes, place: int, last: int) -> int:
    """Where the next group of digits begins: after the digits at `place` and what follows them."""
    if data[place : place + 1] in b"(+":
        return place + 1
    found = _NEXT.match(data, place, last)
    return max(place + 1, found.end() if found else last)


def _is_phone(view: View, found: re.Match[bytes]) -> bool:
    data, start = view.data, found.start()
    kind = found.lastgroup or ""
    before = data[max(0, start - 2) : start]
    if _BOUND_BEFORE.match(before[-1:]) and not (kind == "world" and before[-1:] == b"."):
        return False
    if b"_" in before or _BOUND_AFTER.match(data, found.end()):
        return False
    digits = re.sub(rb"[^0-9]", b"", found[kind]).decode("ascii")
    plain = found[0].isdigit()
    if plain and (_ISBN.search(view.before(start, 24)) or int(digits) in _NOT_PHONES):
        return False
    in_a_row = before[-1:] == b" " and before[:1].isdigit() and b" " in found[0]
    if set(digits) <= {"0", "1"} or (in_a_row and not _STRUCTURE.search(found[0])):
        return False
    return _is_planned(kind, digits, plain)


def _is_planned(kind: str, digits: str, plain: bool) -> bool:
    """Whether the numbering plan has such a number."""
    if kind == "world":
        return 8 <= len(digits) <= 16 and bool(_COUNTRY.match(digits))
    if kind == "mobile":
        return bool(_MOBILE.match(digits[-11:]))
    if kind == "america":
        return not (digits[-10:-7].endswith("11") and digits[-7:-4].endswith("11"))
    if kind == "trunk":
        return 10 <= len(digits) <= 12 and not (plain and digits[1] in "46")
    if kind == "abroad":
        return not plain and 10 <= len(digits) <= 17 and bool(_COUNTRY.match(digits[2:]))
    return kind == "pairs" or len(digits) == 10
