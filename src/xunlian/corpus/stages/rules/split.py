"""Where words begin and end: the rules of spaCy's English tokenizer, on arrays.

Most of a text is letters and spaces, which need no rule. What else there is (a twentieth) is
looked at with its neighbours: a mark parts from its word at the word's start or end, between
letters, or never. Contractions come apart (do|n't, it|'s), abbreviations keep their point. Left
out: emoticons, addresses without a scheme, slang (gonna), units glued to numbers (5km). Chinese
and Japanese characters are words by themselves.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.characters import (
    ARITHMETIC,
    CASELESS,
    COLON,
    COMMA,
    DASH,
    DIGIT,
    EDGE,
    EQUALS,
    HYPHEN,
    ICON,
    LOWER,
    MONEY,
    PERCENT,
    PERIOD,
    QUOTE,
    SIGN,
    SLASH,
    SPACE,
    UPPER,
)
from xunlian.corpus.stages.rules.hashing import U64, Hasher, hash_texts

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Their point belongs to them.
_ABBREVIATIONS = (
    "Mr Mrs Ms Dr Prof St Mt Jr Sr Inc Co co Corp Ltd Bros Gen Gov Sen Rep Rev Adm Messrs Ph.D "
    "a.m p.m e.g i.e E.g I.e vs v.s Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ala Ariz Ark "
    "Calif Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich Minn Miss Mo Mont Neb Nev Okla Ore "
    "Pa Tenn Va Wash Wis a b c d e f g h i j k l m n o p q r s t u v w x y z"
)
_SPLIT_AFTER_THREE = ("cannot", "Cannot")


@cache
def _known() -> tuple[U64, U64]:
    return hash_texts(_ABBREVIATIONS.split()), hash_texts(list(_SPLIT_AFTER_THREE))


def _kind_set(*members: int) -> NDArray[np.bool_]:
    table = np.zeros(32, bool)
    table[list(members)] = True
    return table


_EDGE = _kind_set(EDGE, COMMA, COLON, DASH, QUOTE, ICON)
_LETTER = _kind_set(LOWER, UPPER, CASELESS, SIGN)
_ALNUM = _kind_set(LOWER, UPPER, CASELESS, SIGN, DIGIT)
_LEADING = _kind_set(EDGE, COMMA, COLON, DASH, QUOTE, ICON, MONEY, PERCENT, EQUALS)
_TRAILING = _kind_set(EDGE, COMMA, COLON, DASH, QUOTE, ICON, PERIOD, PERCENT, MONEY)
_INFIX = _kind_set(HYPHEN, DASH, COLON, EQUALS, SLASH)
_BEFORE_POINT = _kind_set(LOWER, CASELESS, SIGN, DIGIT, PERCENT, HYPHEN, ARITHMETIC)


def split_words(
    codes: NDArray[np.uint32], kinds: NDArray[np.uint8], chunk_starts: Ints, hasher: Hasher
) -> tuple[Ints, Ints]:
    """Starts and ends of the words, (W,) each, in order.

    Args:
        codes: (N,) code points; the last is white space.
        kinds: (N,) of `characters.kinds`.
        chunk_starts: where white space ends.
    """
    begins = np.zeros(len(codes) + 1, bool)
    begins[chunk_starts] = True
    signs = np.flatnonzero(kinds == SIGN)
    begins[signs] = True
    begins[signs + 1] = True
    marks = np.flatnonzero(kinds >= EDGE)
    if len(marks):
        points = _at_marks(codes, kinds, marks, chunk_starts, begins)
        _join_abbreviations(points, codes, kinds, begins, hasher)
    blank = kinds == SPACE
    begins = begins[:-1]
    starts = np.flatnonzero(begins & ~blank)
    stops = begins | blank
    stops[1:] &= ~blank[:-1]
    stops[0] = False
    ends = np.flatnonzero(stops)
    return _split_known(starts, ends, hasher)


def _at_marks(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    marks: Ints,
    chunk_starts: Ints,
    begins: Flags,
) -> Ints:
    """Set `begins` around the marks; return the points that end a word and were split off."""
    last = len(kinds) - 1
    kind = kinds[marks]
    before = kinds[np.maximum(marks - 1, 0)]
    before[marks == 0] = SPACE
    after = kinds[np.minimum(marks + 1, last)]
    at_start = _at_start(marks, kind, before)
    alone = at_start.copy()
    at_end = _at_end(marks, kind, after)
    after_digit = before == DIGIT
    amount = (kind == PERCENT) | (kind == MONEY)
    alone |= at_end & ~amount & (kind != PERIOD)
    alone |= at_end & amount & after_digit
    between = _ALNUM[before] & _LETTER[after]
    alone |= _INFIX[kind] & between
    alone |= (kind == COMMA) & _LETTER[before] & _LETTER[after]
    alone |= kind == ICON
    sum_ = (kind == ARITHMETIC) | ((kind == HYPHEN) & (codes[marks] == ord("-")))
    alone |= sum_ & after_digit & (after == DIGIT)

    point = kind == PERIOD
    # Two points and more are one word.
    many = point & ((after == PERIOD) | (before == PERIOD))
    first = many & (before != PERIOD)
    begins[marks[first]] = True
    begins[marks[many & (after != PERIOD)] + 1] = True
    second_before = kinds[np.maximum(marks - 2, 0)]
    ends_word = _BEFORE_POINT[before] | _EDGE[before]
    ends_word |= (before == UPPER) & (second_before == UPPER)
    ends_word &= point & ~many & at_end
    new_sentence = point & ~many & ((before == LOWER) | (before == CASELESS))
    new_sentence &= (after == UPPER) | (after == QUOTE)
    alone |= new_sentence & ~at_end
    alone &= at_start | at_end | ~_in_addresses(codes, marks, chunk_starts)

    apostrophe = np.flatnonzero((kind == QUOTE) & ~alone & _ALNUM[before] & _LETTER[after])
    _contractions(codes, kinds, marks[apostrophe], begins)
    alone |= ends_word
    begins[marks[alone]] = True
    begins[marks[alone] + 1] = True
    return marks[ends_word]


def _at_start(marks: Ints, kind: NDArray[np.uint8], before: NDArray[np.uint8]) -> Flags:
    """Marks before which, back to the white space, stand only marks that part at the start."""
    return _linked(marks, _LEADING[kind], before == SPACE)


def _at_end(marks: Ints, kind: NDArray[np.uint8], after: NDArray[np.uint8]) -> Flags:
    """Marks after which, up to the white space, stand only marks that part at the end."""
    linked = _linked(-marks[::-1], _TRAILING[kind][::-1], (after == SPACE)[::-1])
    return linked[::-1]


def _linked(positions: Ints, member: Flags, anchored: Flags) -> Flags:
    """Members that hang on an anchored member by an unbroken row of neighbours."""
    joined = np.zeros(len(positions), bool)
    joined[1:] = (positions[1:] == positions[:-1] + 1) & member[1:] & member[:-1]
    row = np.cumsum(~joined) - 1
    row_starts = np.flatnonzero(~joined)
    return member & anchored[row_starts][row]


def _in_addresses(codes: NDArray[np.uint32], marks: Ints, chunk_starts: Ints) -> Flags:
    """Marks between the white space around an address (scheme://...), which is one word."""
    colons = marks[(codes[marks] == ord(":")) & (marks + 2 < len(codes))]
    colons = colons[(codes[colons + 1] == ord("/")) & (codes[colons + 2] == ord("/"))]
    if not len(colons):
        return np.zeros(len(marks), bool)
    address = np.zeros(len(chunk_starts) + 1, bool)
    address[np.searchsorted(chunk_starts, colons, "right")] = True
    return address[np.searchsorted(chunk_starts, marks, "right")]


def _contractions(
    codes: NDArray[np.uint32], kinds: NDArray[np.uint8], at: Ints, begins: Flags
) -> None:
    """it|'s, we|'ll, do|n't: `at` are apostrophes between letters."""
    size = len(codes)
    first = codes[at + 1]
    second_at = np.minimum(at + 2, size - 1)
    second, third_kind = codes[second_at], kinds[np.minimum(at + 3, size - 1)]
    one = ~_ALNUM[kinds[second_at]]
    two = ~one & ~_ALNUM[third_kind]
    short = one & np.isin(first, [ord(c) for c in "sSdm"])
    pairs = [(ord(pair[0]), ord(pair[1])) for pair in ("ll", "ve", "re")]
    long = two & np.logical_or.reduce([(first == a) & (second == b) for a, b in pairs])
    begins[at[short | long]] = True
    negated = one & (first == ord("t")) & (codes[at - 1] == ord("n")) & (at >= 2)
    begins[at[negated] - 1] = True


def _join_abbreviations(
    points: Ints,
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    begins: Flags,
    hasher: Hasher,
) -> None:
    """Take back the split before a point that belongs to an abbreviation."""
    # The longest has 8 characters: look for the start of the word no farther back.
    starts = points.copy()
    open_ = np.ones(len(points), bool)
    for _ in range(8):
        open_ &= ~begins[starts] | (starts == points)
        open_ &= starts > 0
        starts[open_] -= 1
    fits = begins[starts] & (starts < points)
    starts, points = starts[fits], points[fits]
    joined = points[np.isin(hasher.of(starts, points), _known()[0])]
    begins[joined] = False


def _split_known(starts: Ints, ends: Ints, hasher: Hasher) -> tuple[Ints, Ints]:
    """can|not"""
    likely = np.flatnonzero(ends - starts == 6)
    likely = likely[np.isin(hasher.of(starts[likely], ends[likely]), _known()[1])]
    if not len(likely):
        return starts, ends
    cuts = starts[likely] + 3
    return np.insert(starts, likely + 1, cuts), np.insert(ends, likely, cuts)
