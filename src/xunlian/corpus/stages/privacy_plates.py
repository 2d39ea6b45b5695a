"""Licence plates: Chinese and British ones by their form, others where the text names them."""

import re
from collections.abc import Iterator

from xunlian.corpus.stages.privacy_view import View

# GA 36-2018: province, letter of the office, five characters without I and O (six for new-energy
# cars: 粤B·D12345, 京A·12345F), police, learners', trailers', Hong Kong and Macao plates.
_CHINESE = re.compile(
    "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领]"
    "[A-Z][·•‧・.\\- ]?"
    "(?:[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳超领使](?![A-Za-z0-9])"
    "|[A-HJ-NP-Z0-9][0-9]{4}[A-HJ-NP-Z0-9](?![A-Za-z0-9]))"
)
_DIGIT = re.compile("[0-9]")
# Since 2001: two letters, the half-year, three letters.
_BRITISH = re.compile(rb"[A-Z]{2}[0-9]{2}[ ]?[A-Z]{3}(?![A-Za-z0-9])")
_CUES = (b"plate", b"Plate", b"PLATE", b"registration", b"Registration", b"REGISTRATION")
_NAMED = re.compile(
    rb"(?:[Pp]late|PLATE|[Rr]egistration|REGISTRATION)"
    rb"(?:[ ](?:[Nn]umber|NUMBER|[Nn]o\.?|NO\.?|ID|[Tt]ag|[Mm]ark))?"
    rb"(?:[ ](?:is|was|reads?|of))?[\s:#=\"'(\[]{1,4}"
    rb"([A-Z0-9]{1,4}(?:[ \-\xb7\xff][A-Z0-9]{1,6}){1,2}|[A-Z0-9]{4,8})(?![A-Za-z0-9])"
)
_LICENCE = re.compile(r"(?:licen[cs]e|number|vehicle|car|registration) $", re.IGNORECASE)


def find_plates(view: View) -> Iterator[tuple[int, int]]:
    """Licence plates."""
    data = view.data
    if not view.text.isascii():
        for found in _CHINESE.finditer(view.text):
            if _DIGIT.search(found[0]):
                yield found.span()
    for place in view.labels():
        match = _BRITISH.match(data, place)
        if match:
            yield match.span()
    for place in view.occurrences(*_CUES):
        match = _NAMED.match(data, place)
        if not match or data[max(0, place - 1) : place].isalpha():
            continue
        if b"\xff" in match[1] and view.text[slice(*match.span(1))].count("•") != 1:
            continue  # of what is not Latin, only Montana's bullet belongs to a plate
        plate = _GAPS.sub(b"", match[1])
        mixed = _HAS_DIGIT.search(plate) and _HAS_LETTER.search(plate)
        if 4 <= len(plate) <= 8 and (mixed or _is_named(view, match, plate)):
            yield match.span(1)


_GAPS = re.compile(rb"[^A-Z0-9]")
_HAS_DIGIT, _HAS_LETTER = re.compile(rb"[0-9]"), re.compile(rb"[A-Z]")


def _is_named(view: View, match: re.Match[bytes], plate: bytes) -> bool:
    """'Plate 1234' may be a picture in a book, 'licence plate 1234' is not."""
    named = b"umber" in match[0] or _LICENCE.search(view.before(match.start(), 14))
    return plate.isdigit() and bool(named)
