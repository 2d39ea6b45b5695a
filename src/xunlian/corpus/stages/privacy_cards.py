"""Payment cards (ISO/IEC 7812): a known prefix, the length that goes with it, a check digit."""

import re
from collections.abc import Iterator
from itertools import pairwise

from xunlian.corpus.stages.privacy_view import View

_DIGITS = re.compile(rb"[0-9]+")
_GROUP_SHAPES = ((4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (6, 13))
_PREFIX = re.compile(
    "(?P<visa>4)|(?P<mastercard>5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)"
    "|(?P<amex>3[47])|(?P<diners>30[0-5]|3095|36|3[89])|(?P<jcb15>2131|1800)|(?P<jcb>35)"
    "|(?P<discover>6011|64[4-9]|65|622)|(?P<unionpay>62|81)"
    "|(?P<maestro>5018|5020|5038|5[678]|0604|6304|6390|6759|676[1-3])|(?P<mir>220[0-4])"
)
_LENGTHS = {
    "visa": (13, 16, 19),
    "mastercard": (16,),
    "amex": (15,),
    "diners": (14, 16, 19),
    "jcb15": (15, 16),
    "jcb": (16, 17, 18, 19),
    "discover": (16, 17, 18, 19),
    "unionpay": (16, 17, 18, 19),
    "maestro": (12, 13, 14, 15, 16, 17, 18, 19),
    "mir": (16, 17, 18, 19),
}
_HEX_BEFORE = re.compile(rb"[0-9A-Fa-f]-")  # as in a UUID
_CUE = re.compile(
    r"(?:银行卡|信用卡|储蓄卡|借记卡|卡号|銀行卡|卡號|账号|帐号|账户"
    r"|(?:card|account)(?: number| no\.?|#)?)(?:号码|号|是|为|is|：|:|=|\W){0,4}$",
    re.IGNORECASE,
)


def find_cards(view: View) -> Iterator[tuple[int, int]]:
    """Numbers of cards; and other numbers of 16 to 19 digits where the words before them say that
    it is a card or an account. Digits stand together or in the groups that are printed on cards."""
    for first, last in view.numbers(12):
        groups = [found.span() for found in _DIGITS.finditer(view.data, first, last)]
        at = 0
        while at < len(groups):
            used = _card_at(view, groups, at)
            if used:
                yield groups[at][0], groups[at + used - 1][1]
            at += used or 1


def _card_at(view: View, groups: list[tuple[int, int]], at: int) -> int:
    """How many groups of digits from this one are a card's number, or 0."""
    start, end = groups[at]
    size = end - start
    before = view.data[max(0, start - 2) : start]
    if before[-1:].isalpha() or _HEX_BEFORE.match(before):
        return 0
    if 12 <= size <= 19:
        decimal = before[-1:] == b"." and before[:1].isdigit()
        joined = view.data[end : end + 1].isalpha()
        return int(not decimal and not joined and _is_card(view, [groups[at]]))
    for shape in _GROUP_SHAPES if size in (4, 6) else ():
        some = groups[at : at + len(shape)]
        fits = tuple(last - first for first, last in some) == shape
        if fits and _is_apart(view, some) and _is_card(view, some):
            return len(shape)
    return 0


def _is_apart(view: View, groups: list[tuple[int, int]]) -> bool:
    """Whether one space or hyphen is between these groups, and no such hyphen around them."""
    gaps = {view.data[end:start] for (_, end), (start, _) in pairwise(groups)}
    if len(gaps) != 1 or not gaps <= {b" ", b"-", b"\xa0"}:
        return False
    first, last = groups[0][0], groups[-1][1]
    around = (view.data[max(0, first - 1) : first], view.data[last : last + 1])
    return b"-" not in gaps or b"-" not in around


def _is_card(view: View, groups: list[tuple[int, int]]) -> bool:
    number = b"".join(view.data[first:last] for first, last in groups).decode("ascii")
    if len(number) >= 16 and _CUE.search(view.before(groups[0][0], 24)):
        return True
    prefix = _PREFIX.match(number)
    lengths = _LENGTHS[prefix.lastgroup] if prefix and prefix.lastgroup else ()
    return len(number) in lengths and len(set(number)) > 1 and luhn(number)


def luhn(number: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    odd = sum(map(int, number[-1::-2]))
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (odd + even) % 10 == 0
