"""Text that was read in the wrong encoding, found by its signs and read again in the right one.

Three kinds. UTF-8 read as a single-byte encoding ('cafÃ©', 'â€œ'): ftfy repairs it (Speer 2019,
https://ftfy.readthedocs.io), but looks at every character with slow expressions, so it sees only
lines with two characters that could be the first two bytes of a UTF-8 sequence. UTF-8 read as
GB18030 ('涓枃' for 中文) and GB18030 read as Latin-1 ('ÖÐÎÄ') are the Chinese counterparts, which
ftfy does not know; they are read again here, when all of the line fits.
"""

import re
from collections.abc import Callable
from functools import cache

from xunlian.corpus.extras import need
from xunlian.corpus.reading.decode import detect
from xunlian.corpus.stages.characters import UTF8_AS_GB

# The encodings that ftfy undoes, by their Python names.
_SINGLE_BYTE = (
    "latin-1",
    "cp1252",
    "cp1251",
    "cp1250",
    "cp1253",
    "cp1254",
    "cp1257",
    "iso8859-2",
    "mac-roman",
    "cp437",
)
_UTF8_AS_GB = re.compile(f"[{''.join(sorted(UTF8_AS_GB))}]")
# Four letters with accents in a row: no language writes so, GB18030 read as Latin-1 does.
_GB_AS_LATIN = re.compile("[\xa1-\xfe]{4}")
_C1 = frozenset(map(chr, range(0x80, 0xA0)))


def may_be_mojibake(odd: set[str]) -> bool:
    """Whether a text with these odd characters (`characters.odd_characters`) is worth a look."""
    seconds, losers = _bytes()
    return any(
        character in _C1
        or character in losers
        or character in UTF8_AS_GB
        or not seconds.get(character, _NONE).isdisjoint(odd)
        for character in odd
    )


def make_repair() -> Callable[[str], tuple[str, int]]:
    """A function: text -> (repaired text, lines that changed).

    Raises:
        InputError: ftfy is not installed.
    """
    ftfy = need("ftfy", "web")
    config = ftfy.TextFixerConfig(
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_terminal_escapes=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    signs = _signs()

    def repair_line(line: str) -> str:
        if line.isascii():
            return line
        if _GB_AS_LATIN.search(line) and (chinese := _latin_to_chinese(line)):
            return chinese
        if len(_UTF8_AS_GB.findall(line)) > 1 and (chinese := _gb_to_chinese(line)):
            return chinese
        return str(ftfy.fix_text(line, config)) if signs.search(line) else line

    def repair(text: str) -> tuple[str, int]:
        lines = text.split("\n")
        repaired = [repair_line(line) for line in lines]
        changed = sum(old != new for old, new in zip(lines, repaired, strict=True))
        return ("\n".join(repaired), changed) if changed else (text, 0)

    return repair


_NONE: frozenset[str] = frozenset()


@cache
def _bytes() -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """What UTF-8 looks like in the single-byte encodings.

    Every character that may be a first byte, with those that may be the second one after it; and
    the first bytes whose second one may have been lost: A0 became a space, others '?'.
    """
    seconds: dict[str, set[str]] = {}
    losers: set[str] = set()
    for encoding in _SINGLE_BYTE:
        characters = [_character(byte, encoding) for byte in range(256)]
        for byte in range(0xC2, 0xF5):
            seconds.setdefault(characters[byte], set()).update(characters[0x80:0xC0], "\ufffd")
        if encoding != "mac-roman":
            losers.update(characters[byte] for byte in (0xC2, 0xC3, 0xC5, 0xCE, 0xD0, 0xD9))
    return {first: frozenset(those) for first, those in seconds.items()}, frozenset(losers)


@cache
def _signs() -> re.Pattern[str]:
    """Finds whatever ftfy might repair: a C1 control, or a first and a second byte of UTF-8."""
    seconds, losers = _bytes()
    groups: dict[str, set[str]] = {}
    for first in sorted(seconds):
        groups.setdefault(_class(seconds[first]), set()).add(first)
    pairs = "|".join(f"(?<={_class(firsts)}){second}" for second, firsts in groups.items())
    # The first set is what makes the search fast.
    return re.compile(
        f"{_class({*seconds, *_C1})}"
        rf"(?:(?<=[\x80-\x9f])|(?<={_class(losers)})[ ?\x1a]|{pairs})"
    )


def _class(characters: set[str] | frozenset[str]) -> str:
    return f"[{''.join(map(re.escape, sorted(characters)))}]"


def _character(byte: int, encoding: str) -> str:
    try:
        return bytes([byte]).decode(encoding)
    except UnicodeDecodeError:
        return chr(byte)


def _latin_to_chinese(line: str) -> str | None:
    for encoding in ("latin-1", "cp1252"):
        try:
            read = line.encode(encoding)
            if detect(read) == "gb18030":
                return read.decode("gb18030")
        except UnicodeError:
            continue
    return None


def _gb_to_chinese(line: str) -> str | None:
    try:
        return line.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return None
