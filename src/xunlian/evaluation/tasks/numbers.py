"""The number that an answer to a mathematical problem comes to.

What follows the last '####' counts, as in GSM8K (arXiv 2110.14168), else what stands in the last
\\boxed{...}, else the whole answer; of it the last number in digits, or, where there are no digits,
the last in Chinese numerals. Numbers are compared exactly: 1,080 = 1080.0, 2/6 = 1/3, 3万 = 30000,
三百二十 = 320; signs such as % and units are left out.
"""

import re
import unicodedata
from fractions import Fraction

MOST_DIGITS = 1000  # Python converts up to 4,300

_DIGITS = "零一二三四五六七八九"
_ALSO = str.maketrans("〇两", "零二")
_TENS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10_000, "亿": 100_000_000}

# Not within a word, such as the 2 of m2 (㎡); thousands with commas; decimals; fractions.
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)|(?=\.\d))(?:\.\d+)?)"
    r"(?:/(\d+))?([万亿]*)",
    re.ASCII,
)
_HAN_NUMBER = re.compile(f"[{_DIGITS}〇两十百千][{_DIGITS}〇两十百千万亿]*(?:点[{_DIGITS}〇]+)?")
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")


def final_number(answer: str) -> Fraction | None:
    """The number an answer ends with; None when there is none."""
    text = unicodedata.normalize("NFKC", answer).replace("\u2044", "/").replace("−", "-")
    if "####" in text:
        text = text.rpartition("####")[2]
    elif boxed := _BOXED.findall(text):
        text = boxed[-1]
    text = _FRACTION.sub(r"\1/\2", text)
    numbers = [found for match in _NUMBER.finditer(text) if (found := _value(match)) is not None]
    if numbers:
        return numbers[-1]
    written = [found for found in _HAN_NUMBER.findall(text) if len(found) <= MOST_DIGITS]
    return _han_value(written[-1].translate(_ALSO)) if written else None


def _value(match: re.Match[str]) -> Fraction | None:
    number, below, myriads = match.groups()
    if len(match[0]) > MOST_DIGITS:
        return None
    if number in ("", "-") or (below and not int(below)):
        return None
    value = Fraction(number.replace(",", "")) / int(below or 1)
    for letter in myriads:
        value *= _MYRIADS[letter]
    return value


def _han_value(text: str) -> Fraction:
    """三百二十 = 320, 一万零五十 = 10050, 二零二六 = 2026, 三点五 = 7/2."""
    text, _, after = text.partition("点")
    decimals = "".join(str(_DIGITS.index(letter)) for letter in after)
    if not set(text) - set(_DIGITS):  # digit by digit
        return Fraction(f"{''.join(str(_DIGITS.index(letter)) for letter in text)}.{decimals or 0}")
    total = part = digit = 0
    for letter in text:
        if letter in _DIGITS:
            digit = _DIGITS.index(letter)
            continue
        if letter in _TENS:
            part += (digit or 1) * _TENS[letter]
        elif letter == "万":
            total, part = total + (part + digit) * _MYRIADS[letter], 0
        else:
            total, part = (total + part + digit) * _MYRIADS[letter], 0
        digit = 0
    return Fraction(f"{total + part + digit}.{decimals or 0}")
