"""What each Unicode code point is, as arrays that a whole batch can be looked up in at once.

One array says how a code point takes part in the splitting of words (`kinds`), one holds what a
word can have (`traits`): letters, something that is no symbol, marks that end a sentence.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

CODE_POINTS = 0x110000

# Kinds of characters. Those from EDGE on are looked at one by one when words are split.
SPACE, LOWER, UPPER, CASELESS, SIGN, DIGIT, OTHER = range(7)
(
    EDGE,  # parts from the word at its start and at its end: ( ) ? “ ”
    COMMA,  # as EDGE, and between two letters
    COLON,  # as EDGE, and between a letter or digit and a letter: : < >
    DASH,  # as COLON: en and em dashes
    QUOTE,  # as EDGE, and the apostrophe of a contraction: ' ’
    ICON,  # parts from everything: emoji, dingbats, …
    PERIOD,
    HYPHEN,  # between a letter or digit and a letter
    SLASH,  # likewise: /
    EQUALS,  # likewise, and at the start: =
    ARITHMETIC,  # between digits: * + ^
    PERCENT,  # at the start and after a digit
    MONEY,  # likewise
    INERT,  # stays in its word: @ | \
) = range(7, 21)

# Traits of characters: bits.
ALPHABETIC, SUBSTANCE, ENDS_SENTENCE, PUNCTUATION, HAN = 1, 2, 4, 8, 16

# Scripts without spaces whose characters are near to words: each counts as one.
_SIGNS = (
    (0x3005, 0x3007),  # 々〆〇
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_KANA = (0x3040, 0x30FF)

_SENTENCE_ENDS = "!.?！．？。｡؟۔।॥։።‼⁇⁈⁉"
# Symbols by category, but those that make up words of their own in running text.
_SYMBOLS = {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sk", "Cc"}


@cache
def kinds() -> NDArray[np.uint8]:
    """(CODE_POINTS,) the kind of each code point."""
    characters = _all_characters()
    table = np.full(CODE_POINTS, OTHER, np.uint8)
    categories = _categories()
    for category, kind in (
        ("Mn", CASELESS),
        ("Mc", CASELESS),
        ("Nd", DIGIT),
        ("Nl", DIGIT),
        ("No", DIGIT),
        ("Ps", EDGE),
        ("Pe", EDGE),
        ("Pi", EDGE),
        ("Pf", EDGE),
        ("Po", EDGE),
        ("Pc", EDGE),
        ("Pd", HYPHEN),
        ("So", ICON),
        ("Sc", MONEY),
        ("Sm", INERT),
        ("Sk", INERT),
    ):
        table[: len(categories)][categories == category] = kind
    table[0x1F000:0x1FB00] = ICON
    for wide in (table[0x3001:0x3040], table[0xFF00:0xFFF0]):  # no spaces stand beside these
        wide[wide == EDGE] = ICON
    table[np.char.isalpha(characters)] = CASELESS
    table[np.char.islower(characters)] = LOWER
    table[np.char.isupper(characters)] = UPPER
    for first, last in _SIGNS:
        table[first : last + 1] = SIGN
    table[np.char.isspace(characters)] = SPACE
    for marks, kind in (
        ("`´<>", EDGE),
        (",", COMMA),
        (":<>", COLON),
        ("–—", DASH),
        ("'’", QUOTE),
        ("…", ICON),
        (".", PERIOD),
        ("-~", HYPHEN),
        ("/", SLASH),
        ("=", EQUALS),
        ("*+^", ARITHMETIC),
        ("%", PERCENT),
        ("@|\\", INERT),
    ):
        table[[ord(mark) for mark in marks]] = kind
    return table


@cache
def traits() -> NDArray[np.uint8]:
    """(CODE_POINTS,) the traits of each code point, as bits."""
    characters = _all_characters()
    categories = _categories()
    table = np.zeros(CODE_POINTS, np.uint8)
    table[np.char.isalpha(characters)] |= ALPHABETIC
    symbol = np.zeros(CODE_POINTS, bool)
    symbol[: len(categories)] = np.isin(categories, list(_SYMBOLS))
    symbol[ord("$")] = True
    symbol |= np.char.isspace(characters)
    table[~symbol] |= SUBSTANCE
    table[[ord(mark) for mark in _SENTENCE_ENDS]] |= ENDS_SENTENCE
    table[: len(categories)][np.char.startswith(categories, "P")] |= PUNCTUATION
    for first, last in _SIGNS:
        table[first : last + 1] |= HAN
    table[_KANA[0] : _KANA[1] + 1] &= 0xFF ^ HAN
    return table


def _all_characters() -> NDArray[np.str_]:
    return np.arange(CODE_POINTS, dtype=np.uint32).view("U1")


@cache
def _categories() -> NDArray[np.str_]:
    """Unicode's category of the code points below U+10000, where all punctuation in use is."""
    return np.array([unicodedata.category(chr(code)) for code in range(0x10000)])
