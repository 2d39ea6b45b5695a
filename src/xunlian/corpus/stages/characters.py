"""Characters that cannot be seen, or that can be written in more than one way.

Most texts have nothing to change, so the time goes into finding that out: `odd_characters` tells
in one pass what a text holds beside ASCII and common Chinese, and the sets here (`INVISIBLE`,
`SPACES`, ...) tell by it whether a function is needed at all. Each function: text -> (text, how
many characters or places changed).
"""

import re

_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN = re.compile(f"[{_HAN}]")
# What the commonest Chinese marks and characters (，。的中是不人国) become when UTF-8 is read as
# GB18030. Rare themselves, and therefore odd.
UTF8_AS_GB = frozenset("锛銆鐨涓鏄浜鍥鍦鏈鎴")


def _all_but(odd: frozenset[str], first: int, last: int) -> str:
    """Ranges of a regular expression's set: from `first` to `last` without `odd`."""
    ranges = []
    for character in sorted(odd):
        if ord(character) > first:
            ranges.append(f"{chr(first)}-{chr(ord(character) - 1)}")
        first = ord(character) + 1
    return "".join([*ranges, f"{chr(first)}-{chr(last)}"])


_ODD = re.compile(f"[^\x00-\x7f、。「」《》，！（）：；？{_all_but(UTF8_AS_GB, 0x4E00, 0x9FFF)}]")


def odd_characters(text: str) -> set[str]:
    """Those of `text` beyond ASCII, Han and the common Chinese marks."""
    return set() if text.isascii() else set(_ODD.findall(text))


def _span(*bounds: tuple[int, int]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in bounds for code in range(first, last + 1))


# Line ends of other systems: vertical tab, form feed, NEL, LINE and PARAGRAPH SEPARATOR.
_LINE_ENDS = "\x0b\x0c\x85\u2028\u2029"
# Soft hyphen, grapheme joiner, Arabic and Mongolian marks, zero-width characters, bidirectional
# controls, invisible operators, byte order mark, annotations and object replacement, tags.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc"
    "\U000e0001-\U000e007f"
)
INVISIBLE = frozenset("\u00ad\u034f\u061c\u180e\ufeff") | _span(
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFFF9, 0xFFFC), (0xE0001, 0xE007F)
)
# Emoji, their modifiers and variation selectors.
_PICTURE = "\u2190-\u2bff\ufe0f\u20e3\U0001f000-\U0001faff"
# Scripts in which joiners and zero-width spaces are spelling: Arabic, Syriac, N'Ko, the scripts of
# India, Thai, Lao, Tibetan, Burmese, Khmer, Mongolian.
_JOINING = "\u0600-\u109f\u1780-\u18af\u1900-\u1aff\ua840-\uabff\ufb50-\ufdff\ufe70-\ufefc"
_KEEP_OR_DROP = re.compile(
    f"((?<=[{_PICTURE}])\u200d(?=[{_PICTURE}])"
    f"|(?<=[{_JOINING}])[\u200b-\u200d](?=[{_JOINING}])"
    "|(?<=\U0001f3f4)[\U000e0020-\U000e007e]{1,16}\U000e007f)"  # flags of England, Scotland, Wales
    f"|[{_INVISIBLE}]"
)

FULL_LETTERS = _span((0xFF10, 0xFF19), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))
_FULL_LETTERS = re.compile("[０-９Ａ-Ｚａ-ｚ]+")
_FULL_ASCII = re.compile("[！-～]+")
_HALVES = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}

SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000") | _span((0x2000, 0x200A))
_SPACE = re.compile(f"[{''.join(sorted(SPACES))}]")
_ODD_INDENT = re.compile(f"\n[ \t]*+[{''.join(sorted(SPACES))}][^\\S\n]*+")
_ODD_START = re.compile(f"[ \t]*+[{''.join(sorted(SPACES))}][^\\S\n]*+")
_RUN = re.compile("  +")
_TRAILING = re.compile(r"(?<![ \t])[ \t]++(?=\n)")
_BLANK_LINES = re.compile(r"\n{4,}+")

_CURLY = (
    ("‘", "'"), ("’", "'"), ("‚", "'"), ("‛", "'"), ("′", "'"),
    ("“", '"'), ("”", '"'), ("„", '"'), ("‟", '"'), ("″", '"'),
    ("‐", "-"), ("‑", "-"), ("‒", "-"), ("–", "-"), ("―", "-"), ("−", "-"), ("…", "..."),
)  # fmt: skip
_SEE_CURLY = re.compile(f"[{''.join(mark for mark, _ in _CURLY)}—]")
_EM_DASH = re.compile(" ?— ?")
_HALF_BETWEEN_HAN = re.compile(f"(?<=[{_HAN}”’》」）])([,.;:!?]) ?(?=[{_HAN}“‘《「（])")
_FULL_MARK = str.maketrans(",.;:!?", "，。；：！？")
_REPEATED = re.compile(r"([!！?？。.,，、;；~～…=*_#-])\1{3,}+")


def unify_line_ends(text: str) -> tuple[str, int]:
    """Vertical tabs, form feeds and Unicode's separators become line feeds."""
    count = 0
    for end in _LINE_ENDS:
        if end in text:
            count += text.count(end)
            text = text.replace(end, "\n")
    return text, count


def drop_invisible(text: str) -> tuple[str, int]:
    """Without zero-width and formatting characters, but for those that are spelling.

    Kept are the joiner inside emoji, and joiners in the scripts that need them (Persian, Hindi).
    """
    cleaned = _KEEP_OR_DROP.sub(r"\1", text)
    return cleaned, len(text) - len(cleaned)


def halve_letters(text: str) -> tuple[str, int]:
    """Full-width letters and digits as ASCII."""
    return _FULL_LETTERS.subn(_halve, text)


def halve_all(text: str) -> tuple[str, int]:
    """All of full-width ASCII as ASCII, punctuation too."""
    return _FULL_ASCII.subn(_halve, text)


def _halve(match: re.Match[str]) -> str:
    return match[0].translate(_HALVES)


def unify_spaces(text: str) -> tuple[str, int]:
    """ASCII spaces for those of other widths, which as indentation go."""
    start = _ODD_START.match(text)
    text, indents = _ODD_INDENT.subn("\n", text[start.end() :] if start else text)
    text, spaces = _SPACE.subn(" ", text)
    return text, bool(start) + indents + spaces


def tidy_spaces(text: str) -> tuple[str, int]:
    """Single spaces between words, none at line ends; at most two blank lines in a row.

    Indentation stays: it may be code.
    """
    length = len(text)
    if "  " in text:
        text = _RUN.sub(_single, text)
    if " \n" in text:
        text = text.replace(" \n", "\n")
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("", text)
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text, length - len(text)


def _single(run: re.Match[str]) -> str:
    """One space for a run of them; one that indents a line stays."""
    start = run.start()
    return run[0] if start == 0 or run.string[start - 1] in "\n\t" else " "


def normalize_punctuation(text: str) -> tuple[str, int]:
    """ASCII quotes, dashes, dots in lines without Han; full-width marks between Han characters."""
    if not HAN.search(text):
        text, count = _straighten(text)
    else:
        lines = text.split("\n")
        count = 0
        for i, line in enumerate(lines):
            if HAN.search(line):
                lines[i], found = _HALF_BETWEEN_HAN.subn(_widen, line)
            else:
                lines[i], found = _straighten(line)
            count += found
        text = "\n".join(lines)
    text, repeated = _REPEATED.subn(r"\1\1\1", text)
    return text, count + repeated


def _widen(match: re.Match[str]) -> str:
    return match[1].translate(_FULL_MARK)


def _straighten(text: str) -> tuple[str, int]:
    if text.isascii() or not _SEE_CURLY.search(text):
        return text, 0
    count = len(_SEE_CURLY.findall(text))
    for curly, straight in _CURLY:
        text = text.replace(curly, straight)
    return _EM_DASH.sub(" - ", text), count
