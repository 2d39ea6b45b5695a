"""A user's own lists: keywords and regular expressions that a kept document must not hold.

Keywords are searched as one trie of alternatives, so a list of thousands costs what a few cost. A
regular expression may be slow on some text; the `regex` library stops it when a document's time is
over, and the document is set aside by that name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xunlian.errors import InputError

_WORD = re.compile(r"[a-z0-9]", re.ASCII)


@dataclass(frozen=True)
class Lists:
    """Compiled lists."""

    keywords: re.Pattern[str] | None
    patterns: tuple[Any, ...]

    def find(self, text: str, seconds: float) -> tuple[str, str] | None:
        """The reason to drop `text`, and the entry of the list that is to blame.

        Args:
            seconds: what each regular expression may take.
        """
        if self.keywords and (match := self.keywords.search(text.lower())):
            return "keyword", match.group()
        for pattern in self.patterns:
            try:
                if pattern.search(text, timeout=seconds):
                    return "pattern", pattern.pattern
            except TimeoutError:
                return "slow_pattern", pattern.pattern
        return None


def compile_lists(keywords: Iterable[str], patterns: Iterable[str]) -> Lists:
    """Compile both.

    Upper and lower case are one in keywords; an English keyword stands for whole words.

    Raises:
        InputError: a keyword is blank, or a regular expression is none.
    """
    import regex

    words = sorted({_checked(word) for word in keywords})
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(regex.compile(pattern))
        except regex.error as error:
            raise InputError(
                f"quality.patterns: '{pattern}' is no regular expression: {error}."
            ) from None
    return Lists(re.compile(_alternatives(words)) if words else None, tuple(compiled))


def _checked(word: str) -> str:
    if not word.strip():
        raise InputError("quality.keywords: an entry is blank. Remove it.")
    return word.strip().lower()


def _alternatives(words: list[str]) -> str:
    """An expression that matches any of `words`, sorted, branching where they first differ."""
    branches = []
    start = 0
    while start < len(words):
        first = words[start][0]
        stop = start
        while stop < len(words) and words[stop][0] == first:
            stop += 1
        # Looking behind the first character leaves it the beginning by which places are found.
        before = rf"(?<![a-z0-9]{re.escape(first)})" if _WORD.match(first) else ""
        branches.append(
            re.escape(first) + before + _rest([word[1:] for word in words[start:stop]], first)
        )
        start = stop
    return "|".join(branches)


def _rest(words: list[str], last: str) -> str:
    """What may follow: `words` are sorted, `last` is the character before them."""
    # Iterative in depth where words agree: only a parting nests.
    shared = _shared_prefix(words[0], words[-1])
    if shared:
        return re.escape(shared) + _rest([word[len(shared) :] for word in words], shared[-1])
    ends = "(?![a-z0-9])" if _WORD.match(last) else ""
    if words[0] == "":
        if not ends:
            return ""  # whatever follows, the shortest has been found
        words = words[1:]
        if not words:
            return ends
        return f"(?:{ends}|{_groups(words)})"
    return f"(?:{_groups(words)})"


def _groups(words: list[str]) -> str:
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word[1:])
    return "|".join(re.escape(first) + _rest(rest, first) for first, rest in groups.items())


def _shared_prefix(first: str, last: str) -> str:
    """Of sorted words, what the first and the last share is shared by all."""
    size = 0
    while size < min(len(first), len(last)) and first[size] == last[size]:
        size += 1
    return first[:size]
