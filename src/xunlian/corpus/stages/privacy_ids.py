"""National identity numbers: Chinese, American and British."""

import re
from collections.abc import Iterator
from datetime import date

from xunlian.corpus.stages.privacy_view import View

_DIGITS = re.compile(rb"[0-9]+")
_CHINESE = re.compile(
    rb"[1-8][0-9]{5}[ -]?(?:18|19|20)[0-9]{2}[ -]?[01][0-9][0-3][0-9][ -]?[0-9]{3}[0-9Xx]"
    rb"(?![0-9A-Za-z])"
)
_CHINESE_OLD = re.compile(rb"[1-8][0-9]{5}[0-9]{2}[01][0-9][0-3][0-9][0-9]{3}(?![0-9A-Za-z])")
_CHINESE_CUE = re.compile(r"身份证|身份證|证件号|公民身份|ID (?:card|number)", re.IGNORECASE)
# GB/T 2260: provinces, and 71, 81 to 83 for those who live in Taiwan, Hong Kong and Macao.
_PROVINCE = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
_AMERICAN = re.compile(rb"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}(?![0-9A-Za-z]|-[0-9])")
_AMERICAN_CUED = re.compile(rb"[0-8][0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{4}(?![0-9A-Za-z])")
_AMERICAN_CUE = re.compile(
    r"\b(?:SSN|social security)(?: number| no\.?|#)?(?: is)?\W{0,3}$", re.IGNORECASE
)
# HMRC: two letters, six digits, a letter from A to D. ZZ ... T is the example that forms show.
_BRITISH = re.compile(
    rb"(?:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[A-D]"
    rb"|ZZ[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?T)(?![A-Za-z0-9])"
)
_NOT_BRITISH = frozenset([b"BG", b"GB", b"KN", b"NK", b"NT", b"TN"])


def find_national_ids(view: View) -> Iterator[tuple[int, int]]:
    """Chinese identity numbers (GB 11643-1999), US social security and UK national insurance."""
    data = view.data
    for first, last in view.numbers(9):
        for found in _DIGITS.finditer(data, first, last):
            start = found.start()
            before = data[max(0, start - 1) : start]
            if before.isalnum() or before in (b"-", b".", b"_"):
                continue
            end = _number_at(view, start)
            if end:
                yield start, end
    for place in view.labels():
        british = _BRITISH.match(data, place)
        if british and british[0][:2] not in _NOT_BRITISH:
            yield british.span()


def _number_at(view: View, start: int) -> int:
    """The end of the identity number that begins here, or 0."""
    data = view.data
    found = _CHINESE.match(data, start)
    if found:
        number = re.sub(rb"[ -]", b"", found[0]).decode("ascii").upper()
        if _is_chinese(number, bool(_CHINESE_CUE.search(view.before(start, 24)))):
            return found.end()
    found = _CHINESE_OLD.match(data, start)
    if found and _CHINESE_CUE.search(view.before(start, 24)):
        number = found[0].decode("ascii")
        if _is_born(number[:2], "19" + number[6:12]):
            return found.end()
    found = _AMERICAN.match(data, start)
    if not found and _AMERICAN_CUE.search(view.before(start, 32)):
        found = _AMERICAN_CUED.match(data, start)
    if found:
        number = re.sub(rb"[ -]", b"", found[0]).decode("ascii")
        if number[:3] not in ("000", "666") and number[3:5] != "00" and number[5:] != "0000":
            return found.end()
    return 0


def _is_chinese(number: str, named: bool) -> bool:
    """Eighteen characters: region, date of birth, serial, check character (ISO 7064 MOD 11-2)."""
    if not _is_born(number[:2], number[6:14]):
        return False
    return named or chinese_check(number[:17]) == number[17]


def chinese_check(number: str) -> str:
    """The check character of the first 17 digits."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number))
    return "10X98765432"[total % 11]


def _is_born(region: str, day: str) -> bool:
    try:
        date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return False
    return bool(_PROVINCE.match(region)) and 1880 <= int(day[:4]) <= 2099
