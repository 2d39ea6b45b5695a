"""Markdown as text: without its front matter, and by wish without its marks."""

import re

_FRONT = {"---": re.compile(r"(?:---|\.\.\.)\s*"), "+++": re.compile(r"\+\+\+\s*")}
_FRONT_LINES = 500  # a block that is longer is none
_FENCE = re.compile(r"^ {0,3}(?:`{3,}|~{3,})[^\n]*\n?", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+", re.MULTILINE)
_RULE = re.compile(r"^ {0,3}(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE)
_QUOTE = re.compile(r"^ {0,3}>[ \t]?", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]\n]{0,1000})\]\([^()\n]{0,2000}\)")
_STRONG = re.compile(r"(\*\*|__|~~)(?=\S)([^*_~\n]{1,1000})(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]{1,1000})(?<=[^\s*])\*(?![\w*])")
_CODE = re.compile(r"`([^`\n]{1,1000})`")


def without_front_matter(text: str) -> str:
    """The text behind a leading block of YAML (---) or TOML (+++)."""
    first, _, rest = text.removeprefix("\ufeff").partition("\n")
    end = _FRONT.get(first.rstrip())
    if end is None:
        return text
    at = 0
    for number, line in enumerate(rest.split("\n", _FRONT_LINES)[:_FRONT_LINES]):
        at += len(line) + 1
        # A rule at the top of a text is followed by a blank line, front matter is not.
        if number == 0 and not line.strip():
            return text
        if end.fullmatch(line):
            return rest[at:].lstrip("\n")
    return text


def plain(text: str) -> str:
    """What a reader sees: no heading marks, fences, quote marks, emphasis; of links their text."""
    for pattern in (_FENCE, _RULE, _HEADING, _QUOTE):
        text = pattern.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _STRONG.sub(r"\2", text)
    return _CODE.sub(r"\1", _EMPHASIS.sub(r"\1", text))
